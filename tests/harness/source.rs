//! Reads Rust source well enough for `tests/architecture.rs`: words and the paths they begin, without comments and literals.
//!
//! Lives here: [`Source`]. Not here: what is allowed. It is no parser: it knows `use` trees, `crate::`, `super::` and the names
//! at the root of a path, and takes everything behind the first `#[cfg(test)]` of a file for tests.

/// One file, as words with their lines.
pub struct Source {
    /// The top-level module that it belongs to.
    pub module: String,
    /// Number of modules above its items.
    depth: usize,
    tokens: Vec<Token>,
    tests_from: usize,
}

/// A word, or a single other character.
#[derive(Debug)]
struct Token {
    line: usize,
    text: String,
}

/// Whether the whole file is tests.
pub fn is_test_file(path: &str) -> bool {
    path.starts_with("tests/") || path.ends_with("tests.rs") || path.contains("/tests/")
}

impl Source {
    /// `path` from the root of the repository.
    pub fn new(path: &str, text: &str) -> Self {
        let inner = path.trim_start_matches("src/").trim_end_matches(".rs");
        let steps: Vec<&str> = inner.split('/').filter(|step| *step != "mod").collect();
        let in_tests = text.lines().position(|line| line.trim() == "#[cfg(test)]").map_or(usize::MAX, |at| at + 1);
        Self {
            module: steps[0].to_owned(),
            depth: steps.len(),
            tokens: tokens(&blank(text)),
            tests_from: if is_test_file(path) { 0 } else { in_tests },
        }
    }

    /// Every word: its line, itself, whether in tests.
    pub fn words(&self) -> impl Iterator<Item = (usize, String, bool)> + '_ {
        let words = self.tokens.iter().filter(|token| is_word(&token.text));
        words.map(|token| (token.line, token.text.clone(), token.line >= self.tests_from))
    }

    /// Every top-level module that a path names, of those known.
    pub fn modules<'a>(&self, known: impl Iterator<Item = &'a str>) -> Vec<(usize, String)> {
        let known: Vec<&str> = known.collect();
        let mut found = Vec::new();
        for at in 0..self.tokens.len() {
            let root = matches!(self.text(at), "crate" | "ftpgate") || self.climbs_to_the_root(at);
            if !root || !self.leads_on(at) {
                continue;
            }
            let named = if self.text(at + 3) == "{" { self.group(at + 3) } else { vec![at + 3] };
            let named = named.into_iter().filter(|&at| known.contains(&self.text(at)));
            found.extend(named.map(|at| (self.tokens[at].line, self.text(at).to_owned())));
        }
        found
    }

    /// Every dependency that a path begins with: line, name, whether in tests. A name that the file imports from this crate or
    /// declares as a module is not the dependency of that name.
    pub fn crates(&self, dependencies: &[String]) -> Vec<(usize, String, bool)> {
        let own = self.own_names();
        let mut found = Vec::new();
        for at in 0..self.tokens.len() {
            let name = self.text(at);
            let absolute = self.before(at, 2) == "::" && !(at > 2 && is_word(self.text(at - 3)));
            let inside = self.before(at, 2) == "::" && !absolute;
            let used = self.leads_on(at) || self.before(at, 1) == "use";
            if used
                && !inside
                && dependencies.iter().any(|known| known == name)
                && (absolute || !own.iter().any(|own| own == name))
            {
                let line = self.tokens[at].line;
                found.push((line, name.to_owned(), line >= self.tests_from));
            }
        }
        found
    }

    fn text(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| &token.text)
    }

    /// The `count` tokens before `at`.
    fn before(&self, at: usize, count: usize) -> String {
        (at.saturating_sub(count)..at).map(|at| self.text(at)).collect()
    }

    /// `::` follows.
    fn leads_on(&self, at: usize) -> bool {
        self.text(at + 1) == ":" && self.text(at + 2) == ":"
    }

    /// The last of as many `super`s as there are modules above this file.
    fn climbs_to_the_root(&self, at: usize) -> bool {
        let supers = (0..self.depth).take_while(|up| at >= 3 * up && self.text(at - 3 * up) == "super").count();
        supers == self.depth
    }

    /// The first word of each item of the group that opens at `open`.
    fn group(&self, open: usize) -> Vec<usize> {
        let mut found = vec![open + 1];
        let mut level = 0;
        for at in open..self.tokens.len() {
            match self.text(at) {
                "{" => level += 1,
                "}" => level -= 1,
                "," if level == 1 => found.push(at + 1),
                _ => {}
            }
            if level == 0 {
                break;
            }
        }
        found
    }

    /// Words of `use crate::…;`, `use super::…;`, `use self::…;` and `mod …`.
    fn own_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        let mut inside = false;
        for at in 0..self.tokens.len() {
            match self.text(at) {
                "use" => inside = matches!(self.text(at + 1), "crate" | "super" | "self"),
                ";" => inside = false,
                "mod" => names.push(self.text(at + 1).to_owned()),
                word if inside && is_word(word) => names.push(word.to_owned()),
                _ => {}
            }
        }
        names
    }
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

fn tokens(code: &str) -> Vec<Token> {
    let mut found: Vec<Token> = Vec::new();
    for (at, line) in code.lines().enumerate() {
        let mut word = String::new();
        for c in line.chars().chain([' ']) {
            if c.is_alphanumeric() || c == '_' {
                word.push(c);
                continue;
            }
            if !word.is_empty() {
                found.push(Token { line: at + 1, text: std::mem::take(&mut word) });
            }
            if !c.is_whitespace() {
                found.push(Token { line: at + 1, text: c.to_string() });
            }
        }
    }
    found
}

/// The text with blanks in place of comments and of what stands in literals; line ends stay.
fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let literal = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '"' => string(rest),
            'r' if !code.ends_with(|c: char| c.is_alphanumeric() || c == '_') => raw_string(rest),
            '\'' => character(rest),
            _ => 0,
        };
        let length = if literal == 0 { c.len_utf8() } else { literal };
        let (taken, after) = rest.split_at(length);
        match literal {
            0 => code.push(c),
            _ => code.extend(taken.chars().map(|c| if c == '\n' { '\n' } else { ' ' })),
        }
        rest = after;
    }
    code
}

fn block_comment(text: &str) -> usize {
    let mut level = 0;
    let bytes = text.as_bytes();
    for at in 0..bytes.len() {
        match bytes.get(at..at + 2) {
            Some(b"/*") => level += 1,
            Some(b"*/") if level == 1 => return at + 2,
            Some(b"*/") => level -= 1,
            _ => {}
        }
    }
    text.len()
}

fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// `r"…"` or `r#"…"#`; 0 for a word that begins with r.
fn raw_string(text: &str) -> usize {
    let hashes = text[1..].bytes().take_while(|byte| *byte == b'#').count();
    if text.as_bytes().get(1 + hashes) != Some(&b'"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let start = 2 + hashes;
    text[start..].find(&end).map_or(text.len(), |at| start + at + end.len())
}

/// `'x'` or `'\n'`; 0 for a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), _) => text[3.min(text.len())..].find('\'').map_or(0, |at| at + 4),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}
