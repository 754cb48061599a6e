//! A review as one page that needs nothing else: no network, no script, and nothing that a vendor or
//! a user wrote that is anything but text. `html!` escapes whatever is put into it.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::picture::Standing;
use super::review::{Denial, Known, Review, Row};
use super::{Document, picture, text};
use crate::finding::Finding;
use crate::output::printable;

const STYLE: &str = include_str!("page.css");

/// Whatever got into the page all the same would load and run nothing.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// The page.
pub(super) fn of(document: &Document) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "wasmount audit: " (shown(&document.node)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "What drivers ask for, may do and have done" }
                    p {
                        "Node " b { (shown(&document.node)) } ", " (document.made_at) ", by wasmount "
                        (document.wasmount) ": " (document.counts()) "."
                    }
                }
                main {
                    @if !document.findings.is_empty() {
                        h2 { "To look at on the node" }
                        ul.findings { @for found in &document.findings { (finding(found)) } }
                    }
                    @for review in &document.drivers { (driver(review)) }
                    @if document.drivers.is_empty() { p { "No driver is installed." } }
                }
                footer {
                    p {
                        b { "Requested" } " is what the component imports and its vendor explains; "
                        b { "granted" } " is what the operator wrote into grants.toml; "
                        b { "used" } " is what the audit log has. What is marked " (mark())
                        " reaches further than others, and is never given without being named. A "
                        "value that is marked (default) is not in grants.toml, and holds all the same; one "
                        "marked (as asked) is what the manifest asks for, and (by the operator) what was "
                        "said beside it."
                    }
                }
            }
        }
    }
    .into_string()
}

fn driver(review: &Review) -> Markup {
    html! {
        section.driver {
            h2 { (review.driver) }
            @if let Some(installed) = &review.installed {
                p.lead {
                    (shown(&installed.component.name)) " " (shown(&installed.component.version)) ": "
                    (shown(&installed.component.description))
                }
            }
            @if !review.findings.is_empty() {
                h3 { "To look at" }
                ul.findings { @for found in &review.findings { (finding(found)) } }
            }
            @if !review.capabilities.is_empty() {
                h3 { "What it can reach" }
                @if review.known.requested && review.known.granted {
                    @let reach = picture::of(review);
                    (wide("What it can reach, as a picture", &reach))
                    @if !review.known.used { p.lead { "What of it was used is not known." } }
                } @else {
                    p.lead { "That is not known: see what there is to look at." }
                }
                h3 { "Requested, granted, used" }
                (wide("Requested, granted, used", &table(&review.capabilities, review.known)))
            }
            @if !review.denials.is_empty() {
                h3 { "What it was refused" }
                (wide("What it was refused", &denials(&review.denials)))
            }
            @if let Some(installed) = &review.installed {
                h3 { "What is installed" }
                dl {
                    @for [what, is] in text::facts(installed) { dt { (what) } dd { (shown(&is)) } }
                }
            }
            @if !review.settings.is_empty() {
                h3 { "Settings" }
                dl {
                    @for setting in &review.settings {
                        dt { (shown(&setting.key)) } dd { (shown(&setting.shown())) }
                    }
                }
            }
        }
    }
}

/// What may be wider than the window: who has no mouse scrolls it, too.
fn wide(label: &str, what: &Markup) -> Markup {
    html! { div.wide role="region" aria-label=(label) tabindex="0" { (what) } }
}

fn finding(finding: &Finding) -> Markup {
    let severity = finding.severity.name();
    html! {
        li class=(severity) {
            p { span.severity { (severity) } " " b { (shown(&finding.what)) } " " code { (finding.id) } }
            p { (shown(&finding.why)) }
            p { "Do: " (shown(&finding.remedy)) }
        }
    }
}

fn heads(names: &[&str]) -> Markup {
    html! { thead { tr { @for name in names { th scope="col" { (name) } } } } }
}

fn table(rows: &[Row], known: Known) -> Markup {
    html! {
        table.capabilities {
            (heads(&["Capability", "Requested", "Granted", "Used"]))
            @for row in rows {
                @let [requested, granted, used] = row.summary(known);
                @let standing = picture::standing(row).filter(|_| known.requested && known.granted);
                tbody class=[standing.map(Standing::class)] {
                    tr.capability {
                        th scope="rowgroup" {
                            (row.capability.to_string()) @if row.super_privileged { " " (mark()) }
                        }
                        td {
                            (requested)
                            @if let Some(requested) = &row.requested {
                                @if let Some(reason) = &requested.reason { p.reason { (shown(reason)) } }
                                p.functions { (requested.functions.join(", ")) }
                            }
                        }
                        td { (granted) }
                        td {
                            (used)
                            @if let Some(used) = &row.used {
                                @if used.count > 1 { p.functions { "first " (used.first) } }
                                p.functions { "in " (used.operations.join(", ")) }
                                p.functions { "for " (shown(&used.volumes())) }
                            }
                        }
                    }
                    @for key in row.keys() {
                        tr {
                            th scope="row" { (key) }
                            @for cell in row.cells(key) { td { (shown(&cell)) } }
                        }
                    }
                }
            }
        }
    }
}

fn denials(denials: &[Denial]) -> Markup {
    html! {
        table.denials {
            (heads(&["Function", "Times", "Last", "Volumes", "Why"]))
            tbody {
                @for denial in denials {
                    tr {
                        th scope="row" { (denial.function) }
                        td { (denial.count) }
                        td { (denial.last) }
                        td { (shown(&denial.volumes())) }
                        td { (shown(&denial.told())) " " code { (shown(&denial.reason)) } }
                    }
                }
            }
        }
    }
}

fn mark() -> Markup {
    html! { span.mark title="super-privileged" { "!" } }
}

/// What turns the direction of text, or cannot be seen, deceives a reader of a page, too.
fn shown(text: &str) -> String {
    printable(text)
}
