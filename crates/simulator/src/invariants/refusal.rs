//! The promise about statuses that admission refuses.

use issuer_core::Operation;
use issuer_core::reconcile::{Key, Outcome};

use super::approval::is_terminal;
use crate::observation::Observation;
use crate::transition::ProcessId;
use crate::world::{Finding, World, ensure};

/// S32: a status that admission refuses costs no other signature and delays no other object, the next check of an issuer by
/// at most 15 s, and the refusal is told: by an event or a final status, or by an attempt that ends as unsaved.
pub(super) fn refusal_stays_its_own(world: &World, observation: &Observation) -> Finding {
    match observation {
        Observation::Refused(refused) => ensure(!refused.delays_others, || {
            format!("the refusal of a status of {:?} delays other objects", refused.key)
        }),
        Observation::Sent(sent) if sent.operation == Operation::Sign => {
            let kept = sent.csr.map(|csr| (sent.process, csr));
            ensure(kept.is_none_or(|kept| !world.record.kept.contains(&kept)), || {
                format!(
                    "{:?} signs {:?} again, since its status was refused",
                    sent.process, sent.key
                )
            })
        }
        Observation::Finished(process, key, outcome) => {
            ensure(*outcome == Outcome::Unsaved || is_told(world, *process, key), || {
                format!("{process:?} ends {key:?} as {outcome:?}, and tells of no refused status")
            })
        }
        _ => Ok(()),
    }
}

/// Returns `true` if nothing is left to tell of a refused status: an event has told of it, or the object is finished or
/// gone.
fn is_told(world: &World, process: ProcessId, key: &Key) -> bool {
    let Some((uid, _)) = world.record.untold.get(&(process, key.clone())) else {
        return true;
    };
    let object = world.cluster.get(key).ok().filter(|object| object.uid() == uid);
    object.is_none_or(|object| object.observed().is_some_and(|request| is_terminal(&request)))
}
