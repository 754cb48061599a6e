//! Every text that a user can meet is in `docs/texts.txt`, where it is reviewed: errors, refusals
//! and warnings with what to do about them, and whatever else the shipped programs say. This test
//! keeps the file in step with the sources; with `UPDATE_EXPECT=1` it writes it.
//!
//! What is not there: the words of the kernel and of libraries after a colon (`{error}` or `…`),
//! such as those of TOML's parser and clap; single words that a text is put together of, which its
//! examples show; help, which is the documentation of the arguments; and what is said of a mistake
//! in wasmount itself by `expect` and its like.

mod collect;
mod examples;
mod reasons;
mod sources;
mod template;

use std::fmt::Write as _;
use std::fs;

use collect::Text;
use reasons::Reasons;

const SNAPSHOT: &str = "docs/texts.txt";

const HEAD: &str = "\
Every text that wasmount's programs and plugins say, by the file it is in. {volume} is filled in when
it is shown, and so is `…`, which is the cause. Before a text is its reason, where the test finds it.
Below it is an example, as a terminal or kubelet shows it, where a table of the tests has one.

Written from the sources by `UPDATE_EXPECT=1 cargo test -p wasmount-tests --test texts`. Read a text
as one who meets it at night: what failed, why, what to do. Then change the sources, not this file.
";

#[test]
fn every_text_is_reviewed() {
    let path = sources::root().join(SNAPSHOT);
    let written = snapshot();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, written).expect("the snapshot is written");
        return;
    }
    let reviewed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == reviewed,
        "{SNAPSHOT} is not what the sources say:\n{}review what is new, then bless it:\n  \
         UPDATE_EXPECT=1 cargo test -p wasmount-tests --test texts\n",
        difference(&reviewed, &written)
    );
}

/// The collector finds a text in every place that one could escape to.
#[test]
fn no_text_escapes() {
    let file = syn::parse_file(
        r##"
        const WHY: &str = "in a const";
        static OTHER: &[(&str, u8)] = &[("in a table", 1)];
        fn why(kind: Kind) -> &'static str {
            match kind { Kind::A => "in an arm", Kind::B => { "in a\x20tail" } }
        }
        fn told(volume: &str) -> String {
            let mut text = String::from("in a call");
            text += "in an operator";
            text.push_str(&format!("of {volume}, {}, {:?}", self.path().display(), a.b));
            write!(f, "in {} macro", if x { "an inner" } else { "another inner" })
        }
        fn fails(what: &str) -> Failure {
            let message = format!("in {what}");
            Failure::new(Code::Internal, "bound-before", message)
        }
        fn cause() -> Result<()> { read().context("reading")?; bail!("no") }
        fn curried() { failed(format_args!("in {what} callee"))(error) }
        macro_rules! made { ($a:ident) => { Err(concat!("in a body", "")) } }
        mod inner { #[arg(help = "in an attribute")] struct X; const B: &[u8] = b"in bytes"; }
        fn bug() { x.expect("of a bug"); panic!("of a bug"); assert!(a, "of a bug {b}"); }
        /// Of documentation.
        #[expect(dead_code, reason = "of the compiler")]
        fn one_word() { let id = "name"; }
        #[cfg(test)]
        mod tests { const A: &str = "of a test"; }
        "##,
    );
    let failure = syn::parse_file("impl Failure { fn new(code: Code, reason: &str, m: X) {} }");
    let reasons = Reasons::of([failure.as_ref().expect("it parses")].into_iter());
    let found = collect::texts(&file.expect("it parses"), &reasons);
    let found: Vec<String> = found.iter().map(shown).collect();
    assert_eq!(
        found,
        [
            "in a const",
            "in a table",
            "in an arm",
            "in a tail",
            "in a call",
            "in an operator",
            "of {volume}, {path}, {b:?}",
            "in {…} macro",
            "an inner",
            "another inner",
            "[bound-before] in {what}",
            "reading: …",
            "no",
            "in {what} callee: …",
            "in a body",
            "in an attribute",
            "in bytes",
        ]
    );
}

fn snapshot() -> String {
    let sources = sources::shipped();
    let reasons = Reasons::of(sources.iter().map(|source| &source.file));
    let mut examples = examples::all();
    let mut out = HEAD.to_owned();
    for source in &sources {
        let texts = collect::texts(&source.file, &reasons);
        if !texts.is_empty() {
            let _ = write!(out, "\n\n== {}\n", source.path.display());
        }
        for text in texts {
            let _ = write!(out, "\n{}\n", indented(&shown(&text), "  "));
            // Each is shown once, with the first text that is in it.
            if let Some(at) = examples.iter().position(|example| is_example(&text, example)) {
                let _ = writeln!(out, "{}", indented(&examples.remove(at), "    > "));
            }
        }
    }
    out
}

fn is_example(text: &Text, example: &str) -> bool {
    let reason = text.reason.as_ref().filter(|reason| !reason.contains('{'));
    let named = reason.is_none_or(|reason| example.contains(&format!("[{reason}]")));
    named && text.template.is_in(example)
}

fn shown(text: &Text) -> String {
    let reason = text.reason.as_ref().map(|reason| format!("[{reason}] ")).unwrap_or_default();
    let cause = if text.before_cause { ": …" } else { "" };
    format!("{reason}{}{cause}", text.template)
}

fn indented(text: &str, by: &str) -> String {
    text.lines()
        .map(|line| format!("{by}{line}").trim_end().to_owned() + "\n")
        .collect::<String>()
        .trim_end()
        .to_owned()
}

/// The lines that only one of them has.
fn difference(reviewed: &str, written: &str) -> String {
    let mut text = String::new();
    for (mark, lines, others) in [("-", reviewed, written), ("+", written, reviewed)] {
        let others: Vec<&str> = others.lines().collect();
        for line in lines.lines().filter(|line| !others.contains(line)) {
            let _ = writeln!(text, "{mark} {line}");
        }
    }
    text
}
