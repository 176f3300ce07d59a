//! What a pod already has of its bindings. If only some containers are bound, the others are bound as well, because other
//! webhooks may add containers after the policy ran.

use super::{
    form::{MOST_VOLUMES, is_chosen, is_of_bindery, is_small, volume_name},
    text::{Definition, all, define},
};

/// The variables that follow `isForm`. They are evaluated only if it is true.
pub(super) fn states() -> Vec<Definition> {
    vec![
        define("folders", "variables.mounted.map(o, variables.root + o + '/')"),
        define("mounts", format!("variables.mounted.map(o, {} + ' ' + variables.root + o)", volume_name())),
        // The last entry of `envFrom` wins, but the first binding of the annotation must win.
        define("lastWins", "variables.envs.reverse()"),
        define("otherVolumes", format!("variables.volumes.filter(v, !{})", is_of_bindery("v.name"))),
        define("othersAreApart", others_are_apart()),
        define("hasVolumes", has_volumes()),
        define("chosen", format!("variables.containers.filter(c, {})", is_chosen())),
    ]
}

/// The variables that only the policies have.
pub(super) fn of_policy() -> Vec<Definition> {
    let names = |condition: &str| format!("variables.chosen.filter(c, {condition}).map(c, c.name)");
    let are_all_new = "variables.isNew && variables.unbound.size() == variables.chosen.size()";
    vec![
        define(
            "isNew",
            format!(
                "variables.othersAreApart && variables.otherVolumes.size() == variables.volumes.size() \
                 && variables.volumes.size() <= {MOST_VOLUMES}"
            ),
        ),
        define("unbound", names(&is_unbound())),
        define("bound", names(&is_bound_container())),
        define(
            "isBoundNow",
            format!(
                "variables.isForm && variables.chosen.size() > 0 && ({are_all_new} || variables.hasVolumes \
                 && variables.bound.size() + variables.unbound.size() == variables.chosen.size() && {})",
                others_have_no_mounts()
            ),
        ),
        define(
            "binds",
            format!(
                "variables.isForm && variables.chosen.size() > 0 && ({are_all_new} || variables.hasVolumes \
                 && variables.bound.size() > 0 && variables.unbound.size() > 0)"
            ),
        ),
    ]
}

/// Whether a pod of the form needs nothing, so that the webhook would neither change it nor warn.
pub(super) fn is_bound() -> String {
    all(&[
        "variables.chosen.size() > 0".to_owned(),
        "variables.hasVolumes".to_owned(),
        format!("variables.chosen.all(c, {})", is_bound_container()),
        others_have_no_mounts(),
    ])
}

/// Whether some container has no mount of bindery's. This is cheap, and false for most pods that are bound.
pub(super) fn may_bind() -> String {
    let none = has_no_mounts();
    format!(
        "object.spec.?initContainers.orValue([]).exists(c, {none}) || object.spec.containers.exists(c, {none})"
    )
}

/// The webhook warns about mounts that an earlier patch has left in other containers.
fn others_have_no_mounts() -> String {
    format!(
        "(variables.chosen.size() == variables.containers.size() \
         || variables.containers.all(c, {} || {}))",
        is_chosen(),
        has_no_mounts()
    )
}

/// Whether none of the pod's own volumes has a bound Secret. Only the webhook compares how such a volume is mounted.
fn others_are_apart() -> String {
    "variables.otherVolumes.all(v, !(v.?secret.?secretName.orValue('') in variables.objects) \
     && v.?projected.?sources.orValue([]).all(s, !(s.?secret.?name.orValue('') in variables.objects)))"
        .to_owned()
}

/// Whether the pod has the volumes of all bindings, in their order, and no others of bindery's.
fn has_volumes() -> String {
    let of_bindery = is_of_bindery("v.name");
    let is_plain = "v.?secret.?items.orValue([]).size() == 0 && !v.?secret.?optional.orValue(false)";
    format!(
        "variables.othersAreApart && variables.volumes.map(v, {of_bindery}, {is_plain} \
         ? v.name + ' ' + v.?secret.?secretName.orValue('') : '') == variables.mounted.map(o, {} + ' ' + o)",
        volume_name()
    )
}

/// Whether the container `c` has nothing of the bindings, and nothing in their way.
fn is_unbound() -> String {
    let conditions = [is_small(), format!("{}.size() == 0", env_refs()), has_no_mounts(), is_free()];
    format!("({})", all(&conditions))
}

/// Whether the container `c` has everything of the bindings as the policy adds it, and nothing in their way.
fn is_bound_container() -> String {
    let is_whole = "m.?subPath.orValue('') == '' && m.?subPathExpr.orValue('') == ''";
    let conditions = all(&[
        format!("{} == variables.lastWins", env_refs()),
        format!(
            "{MOUNTS}.map(m, {}, {is_whole} ? m.name + ' ' + m.mountPath : '') == variables.mounts",
            is_of_bindery("m.name")
        ),
        is_free(),
    ]);
    format!("({conditions})")
}

/// The mounts of the container `c`.
const MOUNTS: &str = "c.?volumeMounts.orValue([])";

fn has_no_mounts() -> String {
    format!("{MOUNTS}.all(m, !{})", is_of_bindery("m.name"))
}

/// The references in `envFrom` of the container `c` to the variables of bindings; an empty text for one that differs from bindery's.
fn env_refs() -> &'static str {
    "c.?envFrom.orValue([]).map(e, e.?secretRef.?name.orValue('') in variables.envs, \
     e.?prefix.orValue('') == '' && !e.secretRef.?optional.orValue(false) ? e.secretRef.name : '')"
}

/// Whether none of the own mounts and devices of the container `c` is at the folder of a binding or above it. A path that can be
/// written in a shorter way is not compared.
fn is_free() -> String {
    let end = "(p.endsWith('/') ? p : p + '/')";
    format!(
        "({MOUNTS}.map(m, !{own}, m.mountPath) + c.?volumeDevices.orValue([]).map(d, d.devicePath)).all(p, \
         p.startsWith('/') && !p.contains('//') && !(p + '/').contains('/./') \
         && !variables.root.startsWith({end}) && !({end} in variables.folders))",
        own = is_of_bindery("m.name")
    )
}
