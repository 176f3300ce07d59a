//! Lists what looks like bindery's on a server, and whether it is marked.

use std::collections::BTreeSet;

use super::{
    super::resource_kind::{DATABASE, LOGIN},
    Resource,
    marks::{Kind, Mark},
    naming,
};

/// Everything whose name has bindery's form, and whether it is marked. Includes marks without a resource, so that a
/// sweep removes the mark. A login that is kept for the sake of its database counts as a part of the database.
pub(super) fn inventory(marks: &[Mark], databases: Vec<String>, logins: Vec<String>) -> Vec<Resource> {
    let is_marked = |name: &str, is_database: bool| {
        marks.iter().any(|mark| mark.name == name && (mark.kind == Kind::Database) == is_database)
    };
    let is_part = |name: &String| {
        let is_kept = |mark: &Mark| mark.kind == Kind::Definer && is_marked(&mark.database, true);
        marks.iter().any(|mark| mark.name == *name && is_kept(mark))
    };
    let marked = |of_databases: bool| {
        let fitting = marks.iter().filter(move |mark| (mark.kind == Kind::Database) == of_databases);
        fitting.map(|mark| mark.name.clone())
    };
    let there: BTreeSet<_> = databases.iter().chain(&logins).cloned().collect();
    let databases: BTreeSet<_> =
        databases.into_iter().filter(|name| naming::is_database(name)).chain(marked(true)).collect();
    let logins: BTreeSet<_> =
        logins.into_iter().filter(|name| naming::is_login(name)).chain(marked(false)).collect();
    let resource = |kind: &str, name: String| {
        let ours = is_marked(&name, kind == DATABASE);
        let exists = there.contains(&name);
        Resource { kind: kind.to_owned(), name, ours, exists }
    };
    let databases = databases.into_iter().map(|name| resource(DATABASE, name));
    let logins = logins.into_iter().filter(|name| !is_part(name));
    databases.chain(logins.map(|name| resource(LOGIN, name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(name: &str, kind: Kind, database: &str) -> Mark {
        Mark { name: name.to_owned(), kind, database: database.to_owned() }
    }

    #[test]
    fn only_what_is_marked_is_ours() {
        let (ours, theirs) = (naming::database(&"i".into()), naming::database(&"j".into()));
        let login = |binding: &str| naming::login(&"i".into(), &binding.into());
        let marks = [
            mark(&ours, Kind::Database, &ours),
            mark(&login("b"), Kind::Login, &ours),
            mark(&login("kept"), Kind::Definer, &ours),
            mark(&login("stray"), Kind::Definer, &theirs),
        ];
        let databases = vec![ours.clone(), theirs.clone(), "mysql".to_owned()];
        let logins = ["b", "kept", "foreign"].map(login).into_iter().chain(["root".to_owned()]).collect();
        let found = inventory(&marks, databases, logins);
        let named = |ours: bool| -> BTreeSet<String> {
            found.iter().filter(|it| it.ours == ours).map(|it| it.name.clone()).collect()
        };
        assert_eq!(named(true), BTreeSet::from([ours, login("b"), login("stray")]));
        assert_eq!(named(false), BTreeSet::from([theirs, login("foreign")]));
    }
}
