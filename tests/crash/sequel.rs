//! What comes after a crash.

use crate::backends::Step;
use crate::life::Known;
use crate::stage::Stage;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sequel {
    /// kubelet makes the call again.
    Again,
    /// Nobody wants it any more: kubelet takes down what was being set up, or sets up what was
    /// being taken down. After that somebody does.
    Opposite,
    /// The node comes up again, with neither mounts nor devices. Then kubelet does what it does after
    /// that, and makes the call.
    Reboot,
}

impl Sequel {
    pub(crate) const ALL: [Self; 3] = [Self::Again, Self::Opposite, Self::Reboot];

    /// Plays it, up to the level that the call would have led to.
    pub(crate) fn play(self, stage: &Stage<'_>, step: &Step, known: &Known) {
        let again = || (0..2).for_each(|_| stage.answers(step, known));
        let (from, to, lasting) = (step.from, step.to, stage.volume.lasting);
        let takes_down = to < from;
        match self {
            Self::Again => again(),
            Self::Opposite if takes_down => {
                stage.raise(to, from);
                again();
            }
            Self::Opposite => {
                stage.lower(to);
                stage.node.is_idle();
                stage.nothing_is_left();
                stage.raise(0, from);
                again();
            }
            Self::Reboot => {
                stage.node.reboots();
                if takes_down {
                    again();
                    stage.raise(to.min(lasting), to);
                } else {
                    stage.raise(from.min(lasting), from);
                    again();
                }
            }
        }
    }
}
