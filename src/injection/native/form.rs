//! Whether the API server can bind the pod by itself: the annotations have a common form, and the pod is small enough for
//! the cost limits of CEL.

use super::{
    super::names::{SECRET_VOLUME_PREFIX, VOLUME_PREFIX},
    EXCLUDED,
    text::{Definition, all, define, list, literal},
};
use crate::contract::{GROUP, pod};

/// The limits beyond which a pod stays with the webhook. Each of a pod's lists is read for each binding and each container.
/// Those for volumes and for a container's entries hold before the pod is bound.
const MOST_ANNOTATIONS: usize = 100;
const MOST_BINDINGS: usize = 20;
const MOST_CONTAINERS: usize = 30;
pub(super) const MOST_VOLUMES: usize = 100;
const MOST_ENTRIES: usize = 60;
const LONGEST_LIST: usize = 1000;
const LONGEST_ROOT: usize = 200;
const LONGEST_DELIVERY: usize = 50;

/// The longest name of a Secret that is a part of its volume's name.
const LONGEST_NAME: usize = 63 - SECRET_VOLUME_PREFIX.len();

/// Where the annotations of a pod come from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Texts {
    /// From the pod alone: the conditions of a webhook do not see the Namespace.
    OfPod,
    /// From the pod, or from its Namespace.
    OfPodOrNamespace,
}

impl Texts {
    fn of(self, annotation: &str) -> String {
        let name = literal(annotation);
        match self {
            Self::OfPod => format!("variables.own[?{name}]"),
            Self::OfPodOrNamespace => format!("variables.own[?{name}].or(variables.inherited[?{name}])"),
        }
    }
}

/// The variables up to `isForm`.
pub(super) fn form(texts: Texts) -> Vec<Definition> {
    let mut all = vec![define("own", "object.metadata.?annotations.orValue({})")];
    if texts == Texts::OfPodOrNamespace {
        // The policy holds only in Namespaces whose label enables their annotations.
        all.push(define("inherited", "namespaceObject.metadata.?annotations.orValue({})"));
    }
    all.extend([
        define("bind", format!("{}.orValue('')", texts.of(pod::BIND))),
        define("delivery", format!("{}.orValue('env,files')", texts.of(pod::AS))),
        define(
            "rootText",
            format!("{}.orValue({})", texts.of(pod::MOUNT_ROOT), literal(pod::DEFAULT_MOUNT_ROOT)),
        ),
        define("hasNamed", format!("{}.hasValue()", texts.of(pod::CONTAINERS))),
        define("named", format!("{}.orValue('')", texts.of(pod::CONTAINERS))),
        define("volumes", "object.spec.?volumes.orValue([])"),
        define("containers", "object.spec.?initContainers.orValue([]) + object.spec.containers"),
        define("isBounded", is_bounded()),
    ]);
    all.extend(lists(texts));
    all.push(define("isForm", is_form(texts)));
    all
}

/// The number of entries in the lists of the container `c`.
fn entries() -> String {
    ["volumeMounts", "volumeDevices", "envFrom"]
        .map(|list| format!("c.?{list}.orValue([]).size()"))
        .join(" + ")
}

/// Whether the container `c`, which is not bound yet, is small enough.
pub(super) fn is_small() -> String {
    format!("{} <= {MOST_ENTRIES}", entries())
}

fn is_bounded() -> String {
    all(&[
        format!("variables.own.size() <= {MOST_ANNOTATIONS}"),
        format!("variables.bind.size() <= {LONGEST_LIST}"),
        format!("variables.named.size() <= {LONGEST_LIST}"),
        format!("variables.rootText.size() <= {LONGEST_ROOT}"),
        format!("variables.delivery.size() <= {LONGEST_DELIVERY}"),
        format!("variables.volumes.size() <= {}", MOST_VOLUMES + MOST_BINDINGS),
        format!("variables.containers.size() <= {MOST_CONTAINERS}"),
        format!("variables.containers.all(c, {} <= {})", entries(), MOST_ENTRIES + 2 * MOST_BINDINGS),
    ])
}

/// The lists in the annotations, and what becomes of them.
fn lists(texts: Texts) -> Vec<Definition> {
    let split = |text: &str| format!("variables.{text}.split(',').map(n, n.trim())");
    let named = match texts {
        Texts::OfPod => "variables.namedTexts".to_owned(),
        // A Namespace may name containers that a pod does not have.
        Texts::OfPodOrNamespace => format!(
            "{} in variables.own ? variables.namedTexts : variables.namedTexts.filter(n, n in variables.containerNames)",
            literal(pod::CONTAINERS)
        ),
    };
    let secret = literal("secret/");
    vec![
        define("names", split("bind")),
        define(
            "objects",
            format!("variables.names.map(n, n.startsWith({secret}) ? n.substring({}) : n)", "secret/".len()),
        ),
        define(
            "envs",
            format!(
                "variables.delivery.contains('env') ? variables.names.filter(n, !n.startsWith({secret})).map(n, n + '-env') : []"
            ),
        ),
        define("mounted", "variables.delivery.contains('files') ? variables.objects : []"),
        // With one slash at its end.
        define("root", "(variables.rootText.trim() + '/').replace('//', '/')"),
        define("containerNames", "variables.containers.map(c, c.name)"),
        define("namedTexts", split("named")),
        define("namedHere", named),
    ]
}

/// Whether bindery's annotations are those of the form.
fn has_known(annotations: &str) -> String {
    let known = [pod::BIND, pod::AS, pod::CONTAINERS, pod::MOUNT_ROOT, pod::BOUND_BY.0];
    format!("{annotations}.all(k, !k.startsWith({}) || k in {})", literal(&format!("{GROUP}/")), list(&known))
}

/// Whether a pod asks for credentials by annotations of the form, whatever their values are.
pub(super) fn may_have_form() -> String {
    let annotations = "object.metadata.?annotations.orValue({})";
    format!("{annotations}[?{}].orValue('') != '' && {}", literal(pod::BIND), has_known(annotations))
}

fn is_form(texts: Texts) -> String {
    let unique = |list: &str| format!("variables.{list}.all(n, variables.{list}.exists_one(m, m == n))");
    let mut conditions = vec![
        "variables.bind != ''".to_owned(),
        "variables.isBounded".to_owned(),
        has_known("variables.own"),
        format!("variables.names.size() <= {MOST_BINDINGS}"),
        format!(
            "variables.names.all(n, n.matches('^(secret/)?[a-z0-9]([-a-z0-9]{{0,{}}}[a-z0-9])?$'))",
            LONGEST_NAME - 2
        ),
        // A binding and the Secret of the same name are the same volume.
        format!(
            "variables.objects.all(n, n.size() <= {LONGEST_NAME} && variables.objects.exists_one(m, m == n))"
        ),
        r"variables.delivery.matches('^\\s*(env|files|env\\s*,\\s*files|files\\s*,\\s*env)\\s*$')".to_owned(),
        // A plain Secret gives no variables.
        "(variables.mounted.size() > 0 || variables.names.all(n, !n.startsWith('secret/')))".to_owned(),
        // No name starts with a dot, so no part is `.` or `..`.
        r"variables.rootText.matches('^\\s*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+/?\\s*$')".to_owned(),
        format!("variables.namedTexts.size() <= {MOST_CONTAINERS}"),
        format!(
            "(!variables.hasNamed || variables.namedTexts.all(n, n != '') && {} \
             && variables.namedHere.all(n, n in variables.containerNames))",
            unique("namedHere")
        ),
        "object.spec.?os.?name.orValue('') != 'windows'".to_owned(),
        "object.spec.?nodeSelector[?'kubernetes.io/os'].orValue('') != 'windows'".to_owned(),
    ];
    if texts == Texts::OfPodOrNamespace {
        let others = list(&[pod::ENV, pod::FILES, pod::OPTIONAL]);
        conditions.push(format!("{others}.all(k, !(k in variables.inherited))"));
    }
    all(&conditions)
}

/// Whether the container `c` gets what is bound for all containers.
pub(super) fn is_chosen() -> String {
    format!("(variables.hasNamed ? c.name in variables.namedHere : !c.name.matches({EXCLUDED}))")
}

/// The name of the volume of the object `o`.
pub(super) fn volume_name() -> String {
    format!("{} + o", literal(SECRET_VOLUME_PREFIX))
}

/// Whether `value` is the name of a volume of bindery.
pub(super) fn is_of_bindery(value: &str) -> String {
    format!("{value}.startsWith({})", literal(VOLUME_PREFIX))
}
