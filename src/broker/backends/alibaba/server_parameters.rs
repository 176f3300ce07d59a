//! The parameters of a database server, by the names of the Service Broker for Alibaba Cloud. Its schema had texts where
//! its code had numbers, so both are taken.

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::{
    catalog::{Engine, Open, ServerDefinition},
    placement::Network,
    read::{invalid, read},
    release::{RECLAIM_POLICY, Release},
};
use crate::{
    broker::{backends::Unacceptable, config::ReclaimPolicy},
    osb::Object,
};

/// Storage comes in steps of this many GB.
const STORAGE_STEP: u32 = 5;
const STORAGE: std::ops::RangeInclusive<u32> = 5..=64_000;

/// A database server that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WantedServer {
    pub(super) engine: Engine,
    pub(super) engine_version: String,
    pub(super) class: String,
    pub(super) storage: u32,
    pub(super) category: Option<String>,
    pub(super) storage_type: Option<String>,
    /// What the user says about the network.
    pub(super) network: Network,
    pub(super) deletion_protection: bool,
}

/// The parameters as users write them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "PascalCase")]
struct ServerParameters {
    #[serde(deserialize_with = "scalar")]
    engine: Option<String>,
    #[serde(deserialize_with = "scalar")]
    engine_version: Option<String>,
    #[serde(deserialize_with = "scalar")]
    class: Option<String>,
    #[serde(deserialize_with = "scalar")]
    storage: Option<String>,
    #[serde(deserialize_with = "scalar")]
    network_type: Option<String>,
    /// As `NetworkType`: an example of the former broker called it so.
    #[serde(rename = "Type", deserialize_with = "scalar")]
    kind_of_network: Option<String>,
    #[serde(rename = "VpcID", alias = "VpcId", deserialize_with = "scalar")]
    vpc_id: Option<String>,
    #[serde(rename = "VSwitchID", alias = "VSwitchId", deserialize_with = "scalar")]
    vswitch_id: Option<String>,
    #[serde(deserialize_with = "scalar")]
    zone_id: Option<String>,
    #[serde(deserialize_with = "scalar")]
    deletion_protection: Option<String>,
    #[serde(rename = "reclaimPolicy")]
    reclaim_policy: Option<ReclaimPolicy>,
}

/// A text, a number or a truth value as text. An empty text counts as absent: manifests leave placeholders empty.
fn scalar<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = match Value::deserialize(deserializer)? {
        Value::Null => return Ok(None),
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        _ => return Err(serde::de::Error::custom("a text or a number is expected")),
    };
    Ok(Some(text).filter(|text| !text.is_empty()))
}

impl ServerDefinition {
    /// The server that these parameters ask for.
    ///
    /// # Errors
    /// Names the parameter that is unknown, fixed by the plan, or wrong.
    pub(super) fn wanted(
        &self,
        given: &Object,
        network: &Network,
        release: &Release,
    ) -> Result<WantedServer, Unacceptable> {
        let asked: ServerParameters = read(given)?;
        release
            .reclaim_policy
            .take(asked.reclaim_policy)
            .map_err(|problem| invalid(RECLAIM_POLICY, &problem))?;
        if let Some(engine) = &asked.engine
            && !engine.eq_ignore_ascii_case(self.engine.as_str())
        {
            let problem = format!(
                "is {engine:?}, and the plan has {}; take another service, or leave it out",
                self.engine.as_str()
            );
            return Err(invalid("Engine", &problem));
        }
        for (name, kind) in [("NetworkType", &asked.network_type), ("Type", &asked.kind_of_network)] {
            if kind.as_ref().is_some_and(|kind| !kind.eq_ignore_ascii_case("vpc")) {
                let problem =
                    "is refused: Alibaba Cloud has only VPCs for new servers; leave it out, or set VPC";
                return Err(invalid(name, problem));
            }
        }
        let version = asked.engine_version.as_deref().map(version).transpose()?;
        let version = self.chosen(Open::EngineVersion, version, &self.engine_version)?;
        let class = asked.class.map(checked_class).transpose()?;
        let storage = asked.storage.as_deref().map(storage).transpose()?;
        let own_network = Network { vpc: asked.vpc_id, vswitch: asked.vswitch_id, zone: asked.zone_id };
        Ok(WantedServer {
            engine: self.engine,
            engine_version: version,
            class: self.chosen(Open::Class, class, &self.class)?,
            storage: self.chosen(Open::Storage, storage, &self.storage)?,
            category: self.category.clone(),
            storage_type: self.storage_type.clone(),
            network: network.with(own_network)?,
            deletion_protection: asked
                .deletion_protection
                .as_deref()
                .map(truth)
                .transpose()?
                .unwrap_or_default(),
        })
    }

    /// The user's value if the plan leaves the parameter to users, or says the same.
    fn chosen<T: PartialEq + Clone>(
        &self,
        open: Open,
        asked: Option<T>,
        of_plan: &T,
    ) -> Result<T, Unacceptable> {
        match asked {
            Some(asked) if asked == *of_plan || self.open.contains(&open) => Ok(asked),
            Some(_) => Err(invalid(&format!("{open:?}"), "is fixed by the plan; leave it out")),
            None => Ok(of_plan.clone()),
        }
    }

    /// The JSON Schema of the properties.
    pub(super) fn properties(&self, release: &Release) -> Map<String, Value> {
        let mut properties = Map::new();
        let mut add = |name: &str, schema: Value| properties.insert(name.to_owned(), schema);
        let text = |description: &str| json!({"type": ["string", "null"], "description": description});
        add("Engine", text(&format!("{}; may be left out.", self.engine.as_str())));
        add("NetworkType", text("VPC; may be left out. Alibaba Cloud has no classic network any more."));
        add("Type", text("As NetworkType."));
        add("VpcID", text("The VPC; the cluster's if left out."));
        add("VSwitchID", text("The vSwitch; the cluster's if left out."));
        add("ZoneId", text("The zone; the cluster's if left out."));
        add(
            "DeletionProtection",
            json!({"enum": [true, false, "true", "false"], "default": false,
                "description": "Whether the server can be deleted only after this has been set to false."}),
        );
        add(
            RECLAIM_POLICY,
            release.reclaim_policy.schema("What happens to the server when the instance is deleted."),
        );
        if self.open.contains(&Open::EngineVersion) {
            let number = json!({"type": "number"});
            let words = json!({"type": "string", "pattern": "^[0-9]+([.][0-9]+)?$"});
            add(
                "EngineVersion",
                json!({"anyOf": [number, words, {"type": "null"}], "default": self.engine_version,
                "description": "The version of the engine, such as 8.0."}),
            );
        }
        if self.open.contains(&Open::Class) {
            add(
                "Class",
                json!({"type": ["string", "null"], "default": self.class,
                "description": "The instance class; Alibaba Cloud lists them by zone."}),
            );
        }
        if self.open.contains(&Open::Storage) {
            let (least, most) = (STORAGE.start(), STORAGE.end());
            let number =
                json!({"type": "integer", "minimum": least, "maximum": most, "multipleOf": STORAGE_STEP});
            let words = json!({"type": "string", "pattern": "^[0-9]+$"});
            add(
                "Storage",
                json!({"anyOf": [number, words, {"type": "null"}], "default": self.storage,
                "description": "The storage in GB, in steps of 5; it can grow later."}),
            );
        }
        properties
    }
}

impl WantedServer {
    /// Refuses a change for which Alibaba Cloud would need another server.
    pub(super) fn check_change(&self, to: &Self) -> Result<(), Unacceptable> {
        let fixed = [
            ("Engine", self.engine != to.engine),
            ("EngineVersion", self.engine_version != to.engine_version),
            ("the edition of the plan", self.category != to.category),
            ("the storage type of the plan", self.storage_type != to.storage_type),
            ("VpcID", self.network.vpc != to.network.vpc),
            ("VSwitchID", self.network.vswitch != to.network.vswitch),
            ("ZoneId", self.network.zone != to.network.zone),
        ];
        if let Some((name, _)) = fixed.into_iter().find(|(_, differs)| *differs) {
            let problem = format!("{name} cannot be changed; provision another instance");
            return Err(Unacceptable::Unsupported(problem));
        }
        if to.storage < self.storage {
            let problem = format!(
                "parameter Storage: {} GB is less than {} GB; storage only grows",
                to.storage, self.storage
            );
            return Err(Unacceptable::Unsupported(problem));
        }
        Ok(())
    }
}

/// A version as RDS writes it: with one dot.
fn version(text: &str) -> Result<String, Unacceptable> {
    let is_number =
        |part: &str| !part.is_empty() && part.len() <= 3 && part.bytes().all(|byte| byte.is_ascii_digit());
    match text.split_once('.') {
        None if is_number(text) => Ok(format!("{text}.0")),
        Some((major, minor)) if is_number(major) && is_number(minor) => Ok(text.to_owned()),
        _ => Err(invalid("EngineVersion", &format!("{text:?} is no version; write it as 8.0"))),
    }
}

fn checked_class(text: String) -> Result<String, Unacceptable> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    if text.len() <= 64 && text.chars().all(fits) {
        return Ok(text);
    }
    Err(invalid("Class", "is no instance class; write it as mysql.n2e.small.1"))
}

fn storage(text: &str) -> Result<u32, Unacceptable> {
    // A number such as 100.0 comes from YAML.
    let whole = text.strip_suffix(".0").unwrap_or(text);
    match whole.parse() {
        Ok(storage) if STORAGE.contains(&storage) && storage % STORAGE_STEP == 0 => Ok(storage),
        _ => {
            Err(invalid("Storage", &format!("{text:?} is not a number of GB from 5 to 64000 in steps of 5")))
        }
    }
}

fn truth(text: &str) -> Result<bool, Unacceptable> {
    text.to_lowercase().parse().map_err(|_| invalid("DeletionProtection", "is neither true nor false"))
}
