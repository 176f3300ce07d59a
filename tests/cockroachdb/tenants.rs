//! Instances are isolated from each other. On CockroachDB only the privileges on the public schema ensure this, because
//! every login may connect to every database.

use crate::cluster::{Cluster, code, connect};

#[tokio::test]
async fn logins_cannot_create_or_read_objects_in_other_instances() {
    let cluster = Cluster::open().await;
    let platform = cluster.platform().await;
    for instance in ["mine", "theirs"] {
        assert_eq!(platform.provision(instance).await.0, 201);
    }
    let mine = platform.credentials("mine", "b").await;
    let theirs = platform.credentials("theirs", "b").await;
    let owner = connect(&cluster, &theirs).await.unwrap();
    owner.batch_execute("CREATE TABLE secret (a int)").await.unwrap();

    let mut crossed = mine.clone();
    let uri = mine["uri"].as_str().unwrap();
    crossed["uri"] =
        uri.replace(mine["database"].as_str().unwrap(), theirs["database"].as_str().unwrap()).into();
    let intruder = connect(&cluster, &crossed).await.unwrap();
    for sql in [
        "CREATE TABLE public.t (a int)",
        "SELECT * FROM public.secret",
        "INSERT INTO public.secret VALUES (1)",
        "DROP TABLE public.secret",
        "CREATE SCHEMA s",
    ] {
        assert_eq!(code(intruder.batch_execute(sql).await), "42501", "{sql}");
    }
    for instance in ["mine", "theirs"] {
        assert_eq!(platform.deprovision(instance).await.0, 200);
    }
    assert_eq!(cluster.left_of(&[&mine, &theirs]).await, Vec::<String>::new());
}

/// The assumption of the former test: until bindery revokes the privileges, the public schema is open to all.
#[tokio::test]
async fn a_new_public_schema_is_open_until_bindery_closes_it() {
    let cluster = Cluster::open().await;
    let platform = cluster.platform().await;
    assert_eq!(platform.provision("visitor").await.0, 201);
    let visitor = platform.credentials("visitor", "b").await;
    let administrator = cluster.administrator("postgres").await;
    let database = format!("open_{}", std::process::id());
    for sql in [
        format!("CREATE ROLE IF NOT EXISTS \"{database}_owner\""),
        format!("GRANT \"{database}_owner\" TO \"bindery\""),
        format!("CREATE DATABASE IF NOT EXISTS \"{database}\" OWNER \"{database}_owner\""),
    ] {
        administrator.batch_execute(&sql).await.unwrap();
    }
    let mut crossed = visitor.clone();
    let uri = visitor["uri"].as_str().unwrap();
    crossed["uri"] = uri.replace(visitor["database"].as_str().unwrap(), &database).into();
    let session = connect(&cluster, &crossed).await.unwrap();
    session.batch_execute("CREATE TABLE public.t (a int); DROP TABLE public.t").await.unwrap();
    let close = format!("REVOKE CREATE, USAGE ON SCHEMA \"{database}\".public FROM public");
    administrator.batch_execute(&close).await.unwrap();
    assert_eq!(code(session.batch_execute("CREATE TABLE public.t (a int)").await), "42501");

    for sql in [
        format!("DROP DATABASE IF EXISTS \"{database}\" CASCADE"),
        format!("DROP ROLE IF EXISTS \"{database}_owner\""),
    ] {
        administrator.batch_execute(&sql).await.unwrap();
    }
    assert_eq!(platform.deprovision("visitor").await.0, 200);
}
