//! A picture of what a driver's component can reach: itself on the left, the host that decides in
//! the middle, on the right what lies behind. A line goes through where it is granted.

use maud::{Markup, html};
use wasmount_pack::Capability;

use super::review::{Review, Row};
use crate::output::printable;

/// How it stands with a capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Used,
    GrantedAndNotUsed,
    GrantedAndNotRequested,
    RequestedAndNotGranted,
}

impl Standing {
    const ALL: [Self; 4] = [
        Self::Used,
        Self::GrantedAndNotUsed,
        Self::GrantedAndNotRequested,
        Self::RequestedAndNotGranted,
    ];

    /// Its class in the page's style.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Used => "used",
            Self::GrantedAndNotUsed => "unused",
            Self::GrantedAndNotRequested => "beyond",
            Self::RequestedAndNotGranted => "withheld",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Used => "granted and used",
            Self::GrantedAndNotUsed => "granted, not used so far",
            Self::GrantedAndNotRequested => "granted, not requested",
            Self::RequestedAndNotGranted => "requested, not granted",
        }
    }
}

/// How it stands with a row's. None if it was used once, and is neither granted nor requested any
/// more.
pub(super) fn standing(row: &Row) -> Option<Standing> {
    let is_used = row.used.as_ref().is_some_and(|used| used.count > 0);
    match (&row.granted, &row.requested) {
        (None, None) => None,
        (None, Some(_)) => Some(Standing::RequestedAndNotGranted),
        (Some(_), None) => Some(Standing::GrantedAndNotRequested),
        (Some(_), Some(_)) if is_used => Some(Standing::Used),
        (Some(_), Some(_)) => Some(Standing::GrantedAndNotUsed),
    }
}

const WIDTH: usize = 900;
/// The height of a box, and the room from one to the next.
const BOX: usize = 46;
const STEP: usize = 58;
const TOP: usize = 16;
/// Where the component ends, the host is, and what lies behind begins.
const COMPONENT: usize = 190;
const HOST: usize = 330;
const BEHIND: usize = 450;
/// How many letters fit into a line of a box.
const LETTERS: usize = 62;

/// The picture.
pub(super) fn of(review: &Review) -> Markup {
    let standing = |row| Some((row, standing(row)?));
    let rows: Vec<(&Row, Standing)> = review.capabilities.iter().filter_map(standing).collect();
    let height = TOP + rows.len() * STEP + 30;
    let middle = TOP + (rows.len() * STEP).saturating_sub(STEP - BOX) / 2;
    let name = review.installed.as_ref().map_or("?", |installed| &installed.component.name);
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {height}")) role="img"
            aria-label=(format!("What {} can reach", review.driver)) {
            @for ((_, standing), top) in rows.iter().zip((TOP..).step_by(STEP)) {
                (line(*standing, middle, top + BOX / 2))
            }
            rect.component x="4" y=(middle - BOX / 2) width=(COMPONENT - 4) height=(BOX) rx="6" {}
            text.name x="16" y=(middle - 3) { (cut(name, 24)) }
            text x="16" y=(middle + 14) { "WebAssembly, no privileges" }
            rect.host x=(HOST - 5) y=(TOP - 10) width="10" height=(rows.len() * STEP + 8) rx="3" {}
            @for ((row, standing), top) in rows.iter().zip((TOP..).step_by(STEP)) {
                (behind(row, *standing, top))
            }
            (legend(height - 10))
        }
    }
}

fn line(standing: Standing, from: usize, to: usize) -> Markup {
    // What is withheld ends at the host.
    let goes_through = standing != Standing::RequestedAndNotGranted;
    let bend = COMPONENT + (HOST - COMPONENT) / 2;
    let start = format!("M{COMPONENT} {from} C{bend} {from} {bend} {to} {} {to}", HOST - 8);
    html! {
        path class=(standing.class()) d=(start) {}
        @if goes_through {
            path class=(standing.class()) d=(format!("M{} {to} H{BEHIND}", HOST + 8)) {}
        } @else {
            path.bar d=(format!("M{} {} V{}", HOST - 9, to - 9, to + 9)) {}
        }
    }
}

fn behind(row: &Row, standing: Standing, top: usize) -> Markup {
    let class = format!("behind {}", standing.class());
    let details: Vec<String> = row
        .granted
        .iter()
        .flat_map(|granted| &granted.parameters)
        .filter(|(_, values)| !values.is_empty())
        .map(|(key, values)| format!("{key} {}", Vec::from_iter(values.iter().cloned()).join(", ")))
        .collect();
    // A name that stands alone stands in the middle.
    let line = top + if details.is_empty() { 28 } else { 19 };
    html! {
        rect class=(class) x=(BEHIND) y=(top) width=(WIDTH - BEHIND - 4) height=(BOX) rx="6" {}
        text.name x=(BEHIND + 12) y=(line) {
            (what(row.capability)) @if row.super_privileged { " (!)" }
        }
        text x=(BEHIND + 12) y=(top + 36) { (cut(&details.join("; "), LETTERS)) }
    }
}

fn legend(y: usize) -> Markup {
    html! {
        @for (standing, x) in Standing::ALL.into_iter().zip((4..).step_by(225)) {
            path class=(standing.class()) d=(format!("M{x} {} h26", y - 4)) {}
            text x=(x + 34) y=(y) { (standing.words()) }
        }
    }
}

/// What is behind a capability, in words.
fn what(capability: Capability) -> &'static str {
    match capability {
        Capability::State => "a small store for each volume",
        Capability::Secrets => "keys of the volume's secret",
        Capability::Images => "image files as block devices",
        Capability::ImagesCreate => "new image files",
        Capability::ImagesGrow => "longer image files",
        Capability::Devices => "block devices of the node",
        Capability::FilesystemsFormat => "new filesystems on blank devices",
        Capability::FilesystemsCheck => "repair of filesystems",
        Capability::FilesystemsGrow => "growth of filesystems",
        Capability::MountsBlock => "mounts of block devices",
        Capability::MountsBind => "the volume, bound into a pod",
        Capability::MountsTmpfs => "files in memory for a pod",
    }
}

/// So many letters of a text that somebody else wrote.
fn cut(text: &str, letters: usize) -> String {
    let shown = printable(text);
    match shown.char_indices().nth(letters) {
        Some((end, _)) => format!("{}…", &shown[..end]),
        None => shown,
    }
}
