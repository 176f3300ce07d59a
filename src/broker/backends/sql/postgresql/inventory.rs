//! Lists what looks like bindery's on a server, and whether it is connected to the installation's marker.

use super::{
    super::{
        naming,
        resource_kind::{ACCESS_ROLE, DATABASE, LOGIN, OWNER_ROLE},
    },
    server::Roles,
};
use crate::broker::backends::Resource;

/// The order in which leftovers are removed: a role is removed after what it owns or may use.
const REMOVAL: [&str; 4] = [DATABASE, LOGIN, ACCESS_ROLE, OWNER_ROLE];

/// Everything whose name has bindery's form, and whether it is connected to the marker.
pub(super) fn inventory<'a>(
    roles: &Roles,
    databases: impl Iterator<Item = (&'a str, &'a str)>,
    marker: &str,
) -> Vec<Resource> {
    let is_marked =
        |role: &str| roles.get(role).is_some_and(|groups| groups.iter().any(|group| group == marker));
    let databases = databases.filter(|(name, _)| naming::is_database(name)).map(|(name, owner)| Resource {
        kind: DATABASE.to_owned(),
        name: name.to_owned(),
        ours: naming::owned_database(owner) == Some(name) && is_marked(owner),
        exists: true,
    });
    let logins = roles.iter().filter(|(name, _)| naming::is_login(name)).map(|(name, groups)| Resource {
        kind: LOGIN.to_owned(),
        name: name.clone(),
        ours: groups.iter().any(|group| naming::grouped_database(group).is_some() && is_marked(group)),
        exists: true,
    });
    let groups = roles.keys().filter(|name| naming::grouped_database(name).is_some()).map(|name| Resource {
        kind: match naming::owned_database(name) {
            Some(_) => OWNER_ROLE.to_owned(),
            None => ACCESS_ROLE.to_owned(),
        },
        name: name.clone(),
        ours: is_marked(name),
        exists: true,
    });
    let mut found: Vec<_> = databases.chain(logins).chain(groups).collect();
    let position = |resource: &Resource| REMOVAL.iter().position(|kind| *kind == resource.kind);
    found.sort_by(|a, b| (position(a), &a.name).cmp(&(position(b), &b.name)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_hangs_on_the_marker_is_ours() {
        let (ours, theirs) = (naming::database(&"i".into()), naming::database(&"j".into()));
        let (our_login, their_login) =
            (naming::login(&"i".into(), &"b".into()), naming::login(&"j".into(), &"b".into()));
        let roles = Roles::from([
            (naming::owner(&ours), vec!["bindery_us".to_owned()]),
            (our_login.clone(), vec![naming::owner(&ours)]),
            (naming::owner(&theirs), vec!["bindery_them".to_owned()]),
            (their_login.clone(), vec![naming::owner(&theirs)]),
            ("someone".to_owned(), vec![]),
        ]);
        let owners = [
            (ours.as_str(), naming::owner(&ours)),
            (theirs.as_str(), naming::owner(&theirs)),
            ("app", "someone".into()),
        ];
        let found =
            inventory(&roles, owners.iter().map(|(name, owner)| (*name, owner.as_str())), "bindery_us");
        let named = |ours: bool| -> Vec<&str> {
            found
                .iter()
                .filter(|resource| resource.ours == ours)
                .map(|resource| resource.name.as_str())
                .collect()
        };
        assert_eq!(named(true), [ours.as_str(), our_login.as_str(), naming::owner(&ours).as_str()]);
        assert_eq!(named(false).len(), 3);
    }
}
