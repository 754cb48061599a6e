//! A text as it is in the sources: words, and holes that are filled when it is shown.
//!
//! It knows Rust's format strings, so that a hole bears the name of what fills it. It does not
//! know what will be in it.

use syn::Expr;

/// A text with holes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Words(String),
    Hole(String),
}

impl Template {
    /// A text that is shown as it is.
    pub(crate) fn plain(text: &str) -> Self {
        Self(vec![Part::Words(text.to_owned())])
    }

    /// The format string of `format!` and its like, with the arguments that follow it.
    pub(crate) fn format(text: &str, arguments: &[&Expr]) -> Self {
        let mut parts = Vec::new();
        let mut words = String::new();
        let mut next = 0;
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            words.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                words.push_str(brace);
                rest = after;
                continue;
            }
            let (inside, after) = rest.split_once('}').expect("rustc has read this format string");
            rest = after;
            let (name, spec) = inside.split_once(':').unwrap_or((inside, ""));
            let argument = match name.parse().ok() {
                Some(index) => arguments.get::<usize>(index),
                None if name.is_empty() => {
                    next += 1;
                    arguments.get(next - 1)
                }
                None => None,
            };
            let mut name = argument.map_or_else(|| name.to_owned(), |expr| name_of(expr));
            if spec.contains('?') {
                name.push_str(":?");
            }
            parts.push(Part::Words(std::mem::take(&mut words)));
            parts.push(Part::Hole(name));
        }
        words.push_str(rest);
        parts.push(Part::Words(words));
        parts.retain(|part| *part != Part::Words(String::new()));
        Self(parts)
    }

    /// How many letters it has, those of what fills its holes not counted.
    pub(crate) fn letters(&self) -> usize {
        self.words().flat_map(str::chars).filter(|c| c.is_alphabetic()).count()
    }

    /// Whether it is a text: it has a word, and something beside it. A lone word is a name.
    pub(crate) fn is_text(&self) -> bool {
        let shown = self.to_string();
        let is_word = |word: &str| word.chars().filter(|c| c.is_alphabetic()).count() > 1;
        shown.split_whitespace().count() > 1
            && self.words().flat_map(str::split_whitespace).any(is_word)
    }

    /// Whether a text that was shown has this one in it, followed by `after`. What says next to
    /// nothing is in none.
    pub(crate) fn is_in(&self, shown: &str, after: &str) -> bool {
        let telling = |word: &&str| word.chars().filter(|c| c.is_alphabetic()).count() > 1;
        let words = self.words().flat_map(str::split_whitespace).filter(telling).count();
        let last = self.words().last().map(|words| format!("{words}{after}"));
        let end = self.words().count().saturating_sub(1);
        let mut rest = shown;
        words > 1
            && self.words().enumerate().all(|(index, words)| {
                let words = last.as_deref().filter(|_| index == end).unwrap_or(words);
                let Some(at) = rest.find(words) else { return false };
                // A text does not begin within a word.
                let begun = index == 0 && matches!(self.0.first(), Some(Part::Words(_)));
                let within = rest[..at].ends_with(char::is_alphanumeric);
                rest = &rest[at + words.len()..];
                !(begun && within)
            })
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Words(words) => Some(words.as_str()),
            Part::Hole(_) => None,
        })
    }
}

impl std::fmt::Display for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Words(words) => f.write_str(words),
            Part::Hole(name) => write!(f, "{{{name}}}"),
        })
    }
}

/// A short name for what an argument says: `path` for `self.path().display()`.
fn name_of(expr: &Expr) -> String {
    match expr {
        Expr::Reference(expr) => name_of(&expr.expr),
        Expr::Unary(expr) => name_of(&expr.expr),
        Expr::Paren(expr) => name_of(&expr.expr),
        Expr::Try(expr) => name_of(&expr.expr),
        Expr::Await(expr) => name_of(&expr.base),
        Expr::Index(expr) => name_of(&expr.expr),
        Expr::Assign(expr) => name_of(&expr.left),
        Expr::Path(expr) => {
            let last = expr.path.segments.last();
            last.map_or_else(|| "…".to_owned(), |segment| segment.ident.to_string())
        }
        Expr::Field(expr) => match &expr.member {
            syn::Member::Named(name) => name.to_string(),
            syn::Member::Unnamed(_) => name_of(&expr.base),
        },
        Expr::Call(call) if call.args.len() == 1 => name_of(&call.args[0]),
        Expr::Call(call) => name_of(&call.func),
        Expr::MethodCall(call) => {
            let method = call.method.to_string();
            let says_nothing = [
                "as_ref",
                "as_str",
                "bytes",
                "clone",
                "describe",
                "display",
                "get",
                "join",
                "name",
                "number",
                "parent",
                "path",
                "slash",
                "text",
                "tilde",
                "to_owned",
                "to_string",
                "trim",
                "unwrap_or_default",
            ];
            match &*call.receiver {
                Expr::Path(path) if path.path.is_ident("self") => method,
                receiver if says_nothing.contains(&method.as_str()) => name_of(receiver),
                _ => method,
            }
        }
        Expr::Macro(_) | Expr::Lit(_) => "…".to_owned(),
        _ => "…".to_owned(),
    }
}
