//! What only FreeBSD has before its filter rules: `nat`, `rdr` and `binat` rules, and `scrub` rules. And the anchors of both dialects.
//!
//! Not here: `rdr-to` and `nat-to` of OpenBSD, which are options of a rule (`rule.rs`).

use super::ast::{Anchor, AnchorKind, Rule, Translation, TranslationKind};
use super::cursor::{Cursor, Parsed};
use super::lexer::Token;
use super::matching;
use super::rule::{direction, log, pool, scrub_option, tag};

/// `nat`, `rdr`, `binat`, the word taken already.
pub fn translation(cursor: &mut Cursor, line: usize, kind: TranslationKind, no: bool) -> Parsed<Translation> {
    let pass = cursor.key("pass");
    let log = log(cursor)?;
    let matching = matching::matching(cursor, |_| Ok(()))?;
    let mut translation =
        Translation { line, kind, no, pass, log, matching, tag: None, tagged: None, rtable: None, target: None };
    // In this order and no other.
    if cursor.key("tag") {
        translation.tag = Some(tag(cursor)?);
    }
    let not = cursor.sign("!");
    if cursor.key("tagged") {
        translation.tagged = Some((not, tag(cursor)?));
    } else if not {
        return cursor.syntax();
    }
    if cursor.key("rtable") {
        translation.rtable = Some(cursor.number(255)? as u16);
    }
    if cursor.sign("->") {
        translation.target = Some(pool(cursor)?);
    }
    Ok(translation)
}

/// `scrub …`, its word taken.
pub fn scrub(cursor: &mut Cursor) -> Parsed<()> {
    direction(cursor);
    log(cursor)?;
    matching::matching(cursor, |_| Ok(()))?;
    while *cursor.peek() != Token::NewLine {
        if cursor.key("fragment") {
            if !(cursor.key("reassemble") || cursor.word("no") || cursor.key("no")) {
                return cursor.syntax();
            }
            cursor.key("reassemble");
        } else if cursor.key("rtable") {
            cursor.number(255)?;
        } else {
            scrub_option(cursor)?;
        }
    }
    Ok(())
}

/// `anchor …`, `nat-anchor …`, …, the word taken. The block, if there is one, is read by the caller.
pub fn anchor(cursor: &mut Cursor, line: usize, kind: AnchorKind) -> Parsed<Anchor> {
    let name = match cursor.peek() {
        Token::Word(_) | Token::Quoted(_) => Some(cursor.name()?),
        _ if kind == AnchorKind::Filter => None,
        _ => return cursor.syntax(),
    };
    if let Some(name) = &name {
        check_name(cursor, name)?;
    }
    let filter = kind == AnchorKind::Filter;
    let direction = if filter { direction(cursor) } else { None };
    let quick = filter && cursor.key("quick");
    let matching = matching::matching(cursor, |_| Ok(()))?;
    let mut anchor = Anchor { line, kind, name, direction, quick, matching, tagged: None, block: None };
    while *cursor.peek() != Token::NewLine && !cursor.is_sign("{") {
        let not = cursor.sign("!");
        if cursor.key("tagged") {
            anchor.tagged = Some((not, tag(cursor)?));
        } else if filter && !not && cursor.key("flags") {
            matching::flags(cursor)?;
        } else if filter && !not && (cursor.key("user") || cursor.key("group")) {
            cursor.list(matching::owner)?;
            anchor.matching.owned = true;
        } else if filter && !not && cursor.key("label") {
            cursor.name()?;
        } else if filter && !not && cursor.key("rtable") {
            cursor.number(255)?;
        } else {
            return cursor.syntax();
        }
    }
    if cursor.is_sign("{") && !filter {
        return cursor.syntax();
    }
    if anchor.name.is_none() && !cursor.is_sign("{") {
        return cursor.fail("anchor without a name needs a block");
    }
    Ok(anchor)
}

/// Every component of a path has 1 to 63 bytes; `*` stands alone at the end.
pub fn check_name(cursor: &Cursor, name: &str) -> Parsed<()> {
    let components: Vec<&str> = name.trim_start_matches('/').split('/').collect();
    for (at, component) in components.iter().enumerate() {
        if component.is_empty() {
            return cursor.fail(format!("anchor name '{name}' has an empty component"));
        }
        if component.len() > 63 {
            return cursor.fail(format!("anchor name '{name}' has a component that is too long (max 63 chars)"));
        }
        if component.contains('*') && (*component != "*" || at + 1 < components.len()) {
            return cursor.fail(format!("anchor name '{name}': * stands alone, behind the last /"));
        }
    }
    if name.len() > 1023 {
        return cursor.fail("anchor name too long");
    }
    Ok(())
}

/// The parts of a FreeBSD translation that also a rule has, for the checks that both share.
pub fn as_rule(translation: &Translation) -> Rule {
    let mut rule = Rule::new(translation.line, super::ast::Action::Match);
    rule.matching = translation.matching.clone();
    rule
}
