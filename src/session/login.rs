//! A session whose server the client has named in USER (`mode: login`).
//!
//! Lives here: the USER that the server gets once it has greeted, and what a later USER may name. Not here: how a client gets that
//! far (`lobby`), which servers it may name (`crate::policy`).
//!
//! The client has been greeted by the gateway, so the server's greeting is hidden, and the reply to its first command is the reply
//! to the client's USER. Until the server has greeted, the client is not read: what it has sent behind USER comes behind it.

use serde::{Deserialize, Serialize};

use super::Session;
use super::effect::{Effects, Refusal};
use super::lobby::Named;
use super::pending::Kind;
use super::replies::Local;
use crate::protocol::command::{Command, Verb};
use crate::protocol::destination::{self, Destination, Host, Malformed};

/// Which server that is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Login {
    /// As the client has named it.
    destination: Destination,
    /// Who logs in, until the server has greeted.
    user: Option<Box<[u8]>>,
}

impl Session {
    /// The same session, with a client that has come through the lobby: what it said there is not read again, and what it said
    /// behind it is kept.
    #[must_use]
    pub fn named(mut self, named: Named) -> Self {
        let Named { user, destination, rest, telnet } = named;
        self.login = Some(Box::new(Login { destination, user: Some(user.into_boxed_slice()) }));
        (self.from_client, self.telnet) = (rest, telnet);
        self.seen_command = true;
        self
    }

    /// Whether the server has to greet before the client's USER can be passed on.
    pub(super) fn awaits_greeting(&self) -> bool {
        self.login.as_ref().is_some_and(|login| login.user.is_some())
    }

    /// The server has greeted. Who wants to log in, if that is for us to say.
    pub(super) fn greeted(&mut self) -> Option<Box<[u8]>> {
        self.login.as_mut().and_then(|login| login.user.take())
    }

    /// The server has greeted, unheard by the client: now it hears of the client.
    pub(super) fn log_in(&mut self, effects: &mut Effects) {
        if let Some(user) = self.greeted() {
            self.pass_user(&user, effects);
        }
    }

    fn pass_user(&mut self, user: &[u8], effects: &mut Effects) {
        self.data.user(user);
        self.forward_parts(&[b"USER ", user, b"\r\n"], Some("USER"), Verb::User, Kind::Other, effects);
    }

    /// USER within a session. One that names the session's server once more is that server's, without the name.
    pub(super) fn user(&mut self, line: &[u8], command: &Command<'_>, effects: &mut Effects) {
        if let Some(login) = &self.login {
            match destination::split(command.argument) {
                Ok((user, again)) if self.is_the_same(&login.destination, &again) => {
                    return self.pass_user(user, effects);
                }
                Ok(_) => return self.refuse(Refusal::OtherServer, Local::OtherServer, effects),
                Err(Malformed::NoHost) => {}
                Err(_) => return self.refuse(Refusal::Syntax, Local::BadServer, effects),
            }
        }
        self.data.user(command.argument);
        self.forward(line, command, Kind::Other, effects);
    }

    /// By the name of the first time, or by the address that it has led to.
    fn is_the_same(&self, first: &Destination, again: &Destination) -> bool {
        let address = Host::Address(self.ends.server.ip());
        first.port == again.port && (first.host == again.host || again.host == address)
    }
}
