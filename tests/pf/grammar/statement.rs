//! One statement after the other: which kind each is, whether it may stand in this dialect and at this place, options, tables and queues.
//!
//! Not here: rules (`rule.rs`), translations and anchors (`translation.rs`).

use super::Place;
use super::ast::{AnchorKind, Item, Ruleset, Table, TranslationKind};
use super::check;
use super::cursor::{Cursor, Parsed};
use super::lexer::Token;
use super::{matching, rule, translation, words};

/// FreeBSD's sections, in the order that it insists on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Section {
    Start,
    Options,
    Normalization,
    Queueing,
    Translation,
    Filtering,
}

struct Reader<'a> {
    cursor: &'a mut Cursor,
    place: Place<'a>,
    section: Section,
    any_order: bool,
    ruleset: Ruleset,
}

/// The whole text.
pub fn ruleset(cursor: &mut Cursor, place: Place<'_>) -> Parsed<Ruleset> {
    let ruleset = Ruleset::default();
    let mut reader = Reader { cursor, place, section: Section::Start, any_order: false, ruleset };
    let items = reader.items(0)?;
    reader.ruleset.items = items;
    Ok(reader.ruleset)
}

impl Reader<'_> {
    /// Statements up to the end of the text, or to the `}` of the block at `depth`.
    fn items(&mut self, depth: usize) -> Parsed<Vec<Item>> {
        let mut items = Vec::new();
        loop {
            self.cursor.skip_lines();
            if self.cursor.done() {
                return if depth == 0 { Ok(items) } else { self.cursor.fail("syntax error: `{` has no `}`") };
            }
            if depth > 0 && self.cursor.sign("}") {
                return Ok(items);
            }
            let item = self.statement(depth)?;
            items.extend(item);
            if !(depth > 0 && self.cursor.is_sign("}")) {
                self.cursor.end()?;
            }
        }
    }

    fn enter(&mut self, section: Section) -> Parsed<()> {
        if self.cursor.freebsd() && !self.any_order && self.section > section {
            return self
                .cursor
                .fail("Rules must be in order: options, normalization, queueing, translation, filtering");
        }
        self.section = self.section.max(section);
        Ok(())
    }

    fn statement(&mut self, depth: usize) -> Parsed<Option<Item>> {
        let line = self.cursor.line();
        let freebsd = self.cursor.freebsd();
        let Token::Key(word) = self.cursor.peek().clone() else { return self.cursor.syntax() };
        let kind = |word: &str| match word {
            "nat" | "nat-anchor" => (TranslationKind::Nat, AnchorKind::Nat),
            "rdr" | "rdr-anchor" => (TranslationKind::Rdr, AnchorKind::Rdr),
            _ => (TranslationKind::Binat, AnchorKind::Binat),
        };
        match word.as_str() {
            "set" if depth == 0 => {
                self.cursor.next();
                self.set()?;
                Ok(None)
            }
            "table" if depth == 0 => {
                self.cursor.next();
                self.table()?;
                Ok(None)
            }
            "pass" | "block" | "match" => {
                self.enter(Section::Filtering)?;
                self.cursor.next();
                let rule = rule::rule(self.cursor, line, &word)?;
                check::rule(self.cursor.dialect, &rule, &self.ruleset, &self.place)?;
                Ok(Some(Item::Rule(Box::new(rule))))
            }
            "no" | "nat" | "rdr" | "binat" if freebsd && depth == 0 => {
                self.enter(Section::Translation)?;
                let no = self.cursor.key("no");
                let Some(word) = ["nat", "rdr", "binat"].into_iter().find(|word| self.cursor.key(word)) else {
                    return self.cursor.syntax();
                };
                let translation = translation::translation(self.cursor, line, kind(word).0, no)?;
                self.cursor.end_ahead()?;
                check::translation(self.cursor.dialect, &translation, &self.ruleset, &self.place)?;
                Ok(Some(Item::Translation(Box::new(translation))))
            }
            "nat-anchor" | "rdr-anchor" | "binat-anchor" if freebsd && depth == 0 => {
                self.enter(Section::Translation)?;
                self.cursor.next();
                let anchor = translation::anchor(self.cursor, line, kind(&word).1)?;
                check::tables(&anchor.matching, line, &self.ruleset, &self.place)?;
                Ok(Some(Item::Anchor(Box::new(anchor))))
            }
            "anchor" => {
                self.enter(Section::Filtering)?;
                self.cursor.next();
                let mut anchor = translation::anchor(self.cursor, line, AnchorKind::Filter)?;
                check::tables(&anchor.matching, line, &self.ruleset, &self.place)?;
                if self.cursor.sign("{") {
                    anchor.block = Some(self.items(depth + 1)?);
                }
                Ok(Some(Item::Anchor(Box::new(anchor))))
            }
            "antispoof" => {
                self.enter(Section::Filtering)?;
                self.cursor.next();
                self.antispoof()?;
                Ok(Some(Item::Antispoof))
            }
            "scrub" if freebsd && depth == 0 => {
                self.enter(Section::Normalization)?;
                self.cursor.next();
                translation::scrub(self.cursor)?;
                Ok(Some(Item::Scrub))
            }
            "queue" if depth == 0 => {
                self.enter(Section::Queueing)?;
                self.cursor.next();
                self.queue()?;
                Ok(None)
            }
            "altq" if freebsd && depth == 0 => {
                self.enter(Section::Queueing)?;
                self.cursor.next();
                self.cursor.expect_key("on")?;
                matching::interface(self.cursor)?;
                self.altq_options()?;
                Ok(None)
            }
            "load" if depth == 0 && self.place.is_main() => {
                self.cursor.next();
                self.cursor.expect_key("anchor")?;
                let name = self.cursor.name()?;
                translation::check_name(self.cursor, &name)?;
                self.cursor.expect_key("from")?;
                self.cursor.name()?;
                Ok(None)
            }
            // Another file would have to be read: what stands in it is not checked here.
            "include" => self.cursor.fail("`include` is not followed here: put everything in one file"),
            "load" => self.cursor.fail("`load anchor` has no place in the text of an anchor"),
            _ => self.cursor.syntax(),
        }
    }

    fn antispoof(&mut self) -> Parsed<()> {
        rule::log(self.cursor)?;
        self.cursor.key("quick");
        self.cursor.expect_key("for")?;
        self.cursor.list(matching::interface)?;
        matching::family(self.cursor);
        if self.cursor.key("label") {
            self.cursor.name()?;
        }
        Ok(())
    }

    fn table(&mut self) -> Parsed<()> {
        self.cursor.expect_sign("<")?;
        let name = self.cursor.name()?;
        self.cursor.expect_sign(">")?;
        if name.len() > 31 {
            return self.cursor.fail(format!("table name '{name}' too long, max 31 chars"));
        }
        let mut table = Table { name, addresses: Vec::new() };
        while *self.cursor.peek() != Token::NewLine {
            if self.cursor.key("const") || self.cursor.key("counters") || self.cursor.word("persist") {
                continue;
            }
            if self.cursor.key("file") {
                self.cursor.name()?;
            } else if self.cursor.sign("{") {
                self.cursor.skip_lines();
                // A table may be empty.
                while !self.cursor.sign("}") {
                    table.addresses.push(matching::host(self.cursor)?);
                    self.cursor.skip_lines();
                    self.cursor.sign(",");
                    self.cursor.skip_lines();
                }
            } else {
                return self.cursor.syntax();
            }
        }
        self.ruleset.tables.push(table);
        Ok(())
    }

    fn queue(&mut self) -> Parsed<()> {
        let name = self.cursor.name()?;
        if name.len() > 63 {
            return self.cursor.fail("queue name too long (max 63 chars)");
        }
        let root = self.cursor.key("on");
        if root {
            matching::interface(self.cursor)?;
        }
        if self.cursor.freebsd() {
            self.altq_options()?;
        } else {
            if self.ruleset.queues.contains(&name) {
                return self.cursor.fail(format!("queue {name} already exists"));
            }
            let parent = self.queue_options()?;
            match parent {
                None if !root => return self.cursor.fail("root queue without interface"),
                Some(parent) if !self.ruleset.queues.contains(&parent) => {
                    return self.cursor.fail(format!("parent {parent} not found for {name}"));
                }
                _ => {}
            }
        }
        self.ruleset.queues.push(name);
        Ok(())
    }

    /// OpenBSD: `parent std bandwidth 10M burst 20M for 100ms, min 5M, max 20M qlimit 50 default`. The parent, if one is named.
    fn queue_options(&mut self) -> Parsed<Option<String>> {
        let mut parent = None;
        if *self.cursor.peek() == Token::NewLine {
            return self.cursor.syntax();
        }
        while *self.cursor.peek() != Token::NewLine {
            if self.cursor.key("parent") {
                parent = Some(self.cursor.name()?);
            } else if self.cursor.key("bandwidth") {
                self.curve()?;
                while self.cursor.is_sign(",") || self.cursor.is_key("min") || self.cursor.is_key("max") {
                    self.cursor.sign(",");
                    if !(self.cursor.key("min") || self.cursor.key("max")) {
                        return self.cursor.syntax();
                    }
                    self.curve()?;
                }
            } else if self.cursor.key("qlimit") || self.cursor.key("flows") || self.cursor.key("quantum") {
                self.cursor.number(65535)?;
            } else if !self.cursor.key("default") {
                return self.cursor.syntax();
            }
        }
        Ok(parent)
    }

    /// `10M`, `10M burst 20M for 100ms`.
    fn curve(&mut self) -> Parsed<()> {
        self.amount(&["", "b", "K", "Kb", "M", "Mb", "G", "Gb"])?;
        if self.cursor.key("burst") {
            self.amount(&["", "b", "K", "Kb", "M", "Mb", "G", "Gb"])?;
            self.cursor.expect_key("for")?;
            self.amount(&["ms"])?;
        }
        Ok(())
    }

    /// FreeBSD: `hfsc bandwidth 10Mb queue { a, b }`, `bandwidth 20% priority 3 cbq(default)`.
    fn altq_options(&mut self) -> Parsed<()> {
        let schedulers = ["cbq", "priq", "hfsc", "fairq", "codelq"];
        while *self.cursor.peek() != Token::NewLine {
            if self.cursor.key("bandwidth") {
                self.amount(&["", "b", "Kb", "Mb", "Gb", "%"])?;
            } else if ["qlimit", "tbrsize", "priority"].into_iter().any(|word| self.cursor.key(word)) {
                self.cursor.number(i64::from(u32::MAX))?;
            } else if schedulers.iter().any(|word| self.cursor.key(word)) {
                if self.cursor.is_sign("(") {
                    self.cursor.parenthesised(|cursor| match cursor.peek() {
                        Token::Word(_) | Token::Key(_) | Token::Number(_) => cursor.skip(),
                        _ => cursor.syntax(),
                    })?;
                }
            } else if self.cursor.is_sign("{") || self.cursor.key("queue") {
                self.cursor.list(Cursor::name)?;
            } else {
                return self.cursor.syntax();
            }
        }
        Ok(())
    }

    /// A number with one of these units.
    fn amount(&mut self, units: &[&str]) -> Parsed<()> {
        let text = self.cursor.peek().text();
        let digits = text.chars().take_while(|c| c.is_ascii_digit() || *c == '.').count();
        let word = matches!(self.cursor.peek(), Token::Word(_) | Token::Number(_));
        if digits == 0 || !word || !units.contains(&&text[digits..]) {
            return self.cursor.syntax();
        }
        self.cursor.skip()
    }

    fn set(&mut self) -> Parsed<()> {
        if !self.place.is_main() {
            // Parsed by pfctl, and then not loaded: options are those of the main ruleset.
            return self.cursor.fail("`set` has no effect in the text of an anchor");
        }
        self.enter(Section::Options)?;
        let Token::Key(word) = self.cursor.next() else { return self.cursor.fail("syntax error behind `set`") };
        let freebsd = self.cursor.freebsd();
        match word.as_str() {
            "limit" => {
                let limits = self.cursor.list(limit)?;
                self.ruleset.limits.extend(limits);
            }
            "timeout" => drop(self.cursor.list(timeout)?),
            "skip" => {
                self.cursor.expect_key("on")?;
                let interfaces = self.cursor.list(matching::interface)?;
                self.ruleset.skipped.extend(interfaces.into_iter().map(|(_, name)| name));
            }
            "block-policy" | "fail-policy" if freebsd || word == "block-policy" => {
                let returns = self.cursor.key("return");
                if !returns {
                    self.cursor.expect_key("drop")?;
                }
                self.ruleset.block_returns = returns && word == "block-policy";
            }
            "state-policy" => {
                self.ruleset.if_bound = self.cursor.key("if-bound");
                if !self.ruleset.if_bound {
                    self.cursor.expect_key("floating")?;
                }
            }
            "loginterface" => {
                if !self.cursor.word("none") {
                    matching::interface(self.cursor)?;
                }
            }
            "optimization" | "ruleset-optimization" | "debug" => {
                if !(self.cursor.key("default") || self.cursor.word("default")) {
                    self.cursor.name()?;
                }
            }
            "hostid" => drop(self.cursor.next()),
            "fingerprints" => drop(self.cursor.name()?),
            "reassemble" => {
                self.yes_or_no()?;
                self.cursor.key("no-df");
            }
            "require-order" if freebsd => self.any_order = !self.yes_or_no()?,
            "keepcounters" if freebsd => {}
            "syncookies" => drop(self.cursor.name()?),
            "state-defaults" => {
                let mut rule = super::ast::Rule::new(0, super::ast::Action::Pass);
                rule::state_options(self.cursor, &mut rule)?;
            }
            _ => return self.cursor.fail(format!("syntax error at `{word}`")),
        }
        self.cursor.end_ahead()
    }

    fn yes_or_no(&mut self) -> Parsed<bool> {
        if self.cursor.key("no") {
            return Ok(false);
        }
        if self.cursor.word("yes") {
            return Ok(true);
        }
        self.cursor.fail(format!("invalid value '{}', expected 'yes' or 'no'", self.cursor.peek().text()))
    }
}

fn limit(cursor: &mut Cursor) -> Parsed<(String, u64)> {
    let name = cursor.name()?;
    if !words::limits(cursor.dialect).iter().any(|(known, _)| *known == name) {
        return cursor.fail(format!("unable to set limit {name}: bad pool name"));
    }
    Ok((name, cursor.number(i64::from(u32::MAX))? as u64))
}

fn timeout(cursor: &mut Cursor) -> Parsed<()> {
    if !cursor.key("interval") {
        let name = cursor.name()?;
        if !words::timeout(cursor.dialect, &name) {
            return cursor.fail(format!("unknown timeout {name}"));
        }
    }
    cursor.number(i64::from(u32::MAX)).map(drop)
}
