//! Users, keys and policies: the order of undoing, and news that arrive late.

use super::{super::Alibaba, ALL, code, done, refused};

const USER: (&str, &str) = ("UserName", "orders");
const POLICY: [(&str, &str); 2] = [("PolicyType", "Custom"), ("PolicyName", "orders")];

fn make(cloud: &Alibaba) -> String {
    let key = Alibaba::root();
    done(cloud, &key, "ram:CreateUser", &[USER]);
    done(cloud, &key, "ram:CreatePolicy", &[("PolicyName", "orders"), ("PolicyDocument", ALL)]);
    done(cloud, &key, "ram:AttachPolicyToUser", &[USER, POLICY[0], POLICY[1]]);
    let made = done(cloud, &key, "ram:CreateAccessKey", &[USER]);
    made["AccessKey"]["AccessKeyId"].as_str().unwrap().to_owned()
}

#[test]
fn a_user_is_undone_in_the_order_of_the_documentation() {
    let (cloud, key) = (Alibaba::start(), Alibaba::root());
    let id = make(&cloud);
    assert_eq!(
        cloud.left(),
        [
            "ram user orders",
            "ram policy orders of user orders",
            "ram access key of user orders",
            "ram policy orders"
        ]
    );
    let delete_user = || cloud.call(&key, "ram", "DeleteUser", &[USER]);
    let delete_policy = || cloud.call(&key, "ram", "DeletePolicy", &[POLICY[1]]);
    assert!(code("DeleteConflict.Policy.User")(delete_policy().unwrap_err()));
    assert!(code("DeleteConflict.User.Policy")(delete_user().unwrap_err()));
    done(&cloud, &key, "ram:DetachPolicyFromUser", &[USER, POLICY[0], POLICY[1]]);
    assert!(code("DeleteConflict.User.AccessKey")(delete_user().unwrap_err()));
    done(&cloud, &key, "ram:DeleteAccessKey", &[USER, ("UserAccessKeyId", &id)]);
    delete_user().unwrap();
    delete_policy().unwrap();
    assert_eq!(cloud.left(), Vec::<String>::new());
    assert!(code("EntityNotExist.User")(delete_user().unwrap_err()));
}

#[test]
fn what_exists_is_not_made_again() {
    let (cloud, key) = (Alibaba::start(), Alibaba::root());
    make(&cloud);
    for (action, parameters, wanted) in [
        ("ram:CreateUser", vec![USER], "EntityAlreadyExists.User"),
        ("ram:CreatePolicy", vec![POLICY[1], ("PolicyDocument", ALL)], "EntityAlreadyExists.Policy"),
        ("ram:AttachPolicyToUser", vec![USER, POLICY[0], POLICY[1]], "EntityAlreadyExists.User.Policy"),
    ] {
        assert_eq!(refused(&cloud, &key, action, &parameters), (409, wanted.to_owned()));
    }
    done(&cloud, &key, "ram:CreateAccessKey", &[USER]);
    let third = refused(&cloud, &key, "ram:CreateAccessKey", &[USER]);
    assert_eq!(third, (409, "LimitExceeded.User.AccessKey".to_owned()));
}

#[test]
fn news_arrive_late() {
    let (cloud, key) = (Alibaba::start(), Alibaba::root());
    cloud.set(|settings| (settings.entity_lag, settings.key_lag) = (1, 2));
    done(&cloud, &key, "ram:CreateUser", &[USER]);
    assert!(code("EntityNotExist.User")(refused(&cloud, &key, "ram:CreateAccessKey", &[USER])));
    let made = done(&cloud, &key, "ram:CreateAccessKey", &[USER]);
    let text = |name: &str| made["AccessKey"][name].as_str().unwrap().to_owned();
    let own = super::super::Key { id: text("AccessKeyId"), secret: text("AccessKeySecret"), token: None };
    for _ in 0..2 {
        assert!(code("InvalidAccessKeyId.NotFound")(refused(&cloud, &own, "sts:GetCallerIdentity", &[])));
    }
    done(&cloud, &own, "sts:GetCallerIdentity", &[]);
}

#[test]
fn lists_are_read_in_pages() {
    let (cloud, key) = (Alibaba::start(), Alibaba::root());
    cloud.set(|settings| settings.longest_page = 2);
    for name in ["a1", "b2", "c3"] {
        done(&cloud, &key, "ram:CreateUser", &[("UserName", name)]);
    }
    let first = done(&cloud, &key, "ram:ListUsers", &[]);
    assert_eq!(first["IsTruncated"], true);
    let marker = first["Marker"].as_str().unwrap();
    let second = done(&cloud, &key, "ram:ListUsers", &[("Marker", marker)]);
    assert_eq!(second["IsTruncated"], false);
    let names = |page: &serde_json::Value| {
        let users = page["Users"]["User"].as_array().unwrap().clone();
        users.iter().map(|user| user["UserName"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!([names(&first), names(&second)].concat(), ["a1", "b2", "c3"]);
}
