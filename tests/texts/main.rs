//! Every text that a user can meet is in `docs/texts.txt`, where it is reviewed: errors, refusals
//! and warnings with what to do about them, and whatever else the shipped programs say. This test
//! keeps the file in step with the sources; with `UPDATE_EXPECT=1` it writes it.
//!
//! What is not there: the words of the kernel and of libraries after a colon (`{error}` or `…`),
//! such as those of TOML's parser and clap; single words that a text is put together of, which its
//! examples show; help, which is the documentation of the arguments; and what is said of a mistake
//! in wasmount itself by `expect` and its like.

mod collect;
mod documents;
mod examples;
mod reasons;
mod sources;
mod template;

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use collect::Text;
use examples::Example;
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
    let texts = sources.iter().flat_map(|source| {
        collect::texts(&source.file, &reasons).into_iter().map(|text| (&source.path, text))
    });
    let texts: Vec<(&PathBuf, Text)> = texts.collect();
    let (examples, left) = assigned(&texts, examples::all());
    let mut out = HEAD.to_owned();
    let mut within = None;
    for ((path, text), example) in texts.iter().zip(examples) {
        if within.replace(path) != Some(path) {
            let _ = write!(out, "\n\n== {}\n", path.display());
        }
        let _ = write!(out, "\n{}\n", indented(&shown(text), "  "));
        if let Some(example) = example {
            let _ = writeln!(out, "{}", indented(&example.shown, "    > "));
        }
    }
    let _ = write!(out, "\n\n== in the words of libraries\n");
    for example in left.iter().filter(|example| example.is_mistake) {
        let _ = write!(out, "\n{}\n", indented(&example.shown, "    > "));
    }
    out
}

/// An example for each text that has one, and the examples that are left. Each is shown once, with
/// the longest text that is in it.
fn assigned(
    texts: &[(&PathBuf, Text)],
    mut examples: Vec<Example>,
) -> (Vec<Option<Example>>, Vec<Example>) {
    let mut assigned: Vec<_> = texts.iter().map(|_| None).collect();
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(texts[index].1.template.letters()));
    for index in order {
        let at = examples.iter().position(|example| is_example(&texts[index].1, example));
        assigned[index] = at.map(|at| examples.remove(at));
    }
    (assigned, examples)
}

fn is_example(text: &Text, example: &Example) -> bool {
    let reason = text.reason.as_ref().filter(|reason| !reason.contains('{'));
    // A terminal is shown the message alone.
    let named = example.is_mistake
        || reason.is_none_or(|reason| example.said.contains(&format!("[{reason}]")));
    let after = if text.before_cause { ": " } else { "" };
    named && text.template.is_in(&example.said, after)
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
