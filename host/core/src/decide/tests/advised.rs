//! Does to a grants file what a refusal's message says, as an operator would with an editor.

use crate::grants::SECTIONS;

/// The file, changed as the message advises.
pub(super) fn apply(grants: &str, message: &str) -> String {
    let (_, advice) = message.rsplit_once(" grants.toml: ").expect("a refusal has advice");
    let mut file = tables(grants);
    for (header, lines) in tables(&unflatten(advice)) {
        // Entries of a list of tables are told apart by their first key.
        let same = |table: &&mut Table| {
            table.0 == header && (!header.starts_with("[[") || table.1.first() == lines.first())
        };
        let Some((_, present)) = file.iter_mut().find(same) else {
            file.push((header, lines));
            continue;
        };
        for line in lines {
            let key = line.split_once(" = ").expect("a key").0;
            present.retain(|other| other.split_once(" = ").is_none_or(|(k, _)| k != key));
            present.push(line);
        }
    }
    let text = |(header, lines): Table| format!("{header}\n{}\n", lines.join("\n"));
    file.into_iter().map(text).collect()
}

/// A header, empty for the top of the file, and the lines below it.
type Table = (String, Vec<String>);

fn tables(text: &str) -> Vec<Table> {
    let mut tables: Vec<Table> = vec![(String::new(), Vec::new())];
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match line.starts_with('[') {
            true => tables.push((line.to_owned(), Vec::new())),
            false => tables.last_mut().expect("not empty").1.push(line.to_owned()),
        }
    }
    tables
}

/// Puts each key and each header of a one-line advice on a line of its own.
fn unflatten(advice: &str) -> String {
    let mut text = advice.replace(" [[", "\n[[");
    for key in SECTIONS.iter().flat_map(|section| section.keys) {
        text = text.replace(&format!(" {} = ", key.name), &format!("\n{} = ", key.name));
    }
    text
}
