//! Identifies the deployment whose positions, generations and dead letters a database holds.

use std::fmt;

use super::StoreError;

/// The identity of a deployment. Positions are valid only for one log, and the stable names are in one schema.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deployment {
    /// The name of the application, with which the names of its consumer groups begin.
    pub app: String,
    /// The schema of the stable names. `None` if the database has no schemas.
    pub schema: Option<String>,
    /// The prefix of the names of its topics.
    pub topic_prefix: String,
    /// The id of the cluster that holds the topics. `None` if it is unknown.
    pub cluster_id: Option<String>,
}

impl fmt::Display for Deployment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "app `{}`, topic prefix `{}`", self.app, self.topic_prefix)?;
        if let Some(schema) = &self.schema {
            write!(f, ", schema `{schema}`")?;
        }
        if let Some(cluster) = &self.cluster_id {
            write!(f, ", cluster `{cluster}`")?;
        }
        Ok(())
    }
}

/// A process that runs projections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instance {
    /// The id of the process for one projection, in hexadecimal.
    pub id: String,
    /// The name of the process's application.
    pub app: String,
    /// The name of the host on which the process runs.
    pub host: String,
    /// The id of the process on its host.
    pub process: u32,
    /// The maximum number of database connections of the process. `None` if the store has no limit.
    pub max_connections: Option<u32>,
}

/// An instance that runs at this moment, with the projection that it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Running {
    pub(crate) projection: String,
    pub(crate) app: String,
    pub(crate) host: String,
}

/// What to record so that a deployment can continue with the database of `recorded`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Succession {
    /// Nothing: the deployment is the recorded one.
    Same,
    /// This deployment, instead of the recorded one. `moved_from` is the schema that the stable names must be moved
    /// from, if it differs.
    Record { moved_from: Option<String> },
}

impl Deployment {
    /// Whether this deployment may continue with the tables of `recorded`, while the instances `running` run.
    ///
    /// # Errors
    /// [`StoreError::Deployment`] if the database belongs to another deployment. With `adopt`, only if instances run.
    pub(crate) fn succeed(
        &self,
        recorded: Option<&Deployment>,
        running: &[Running],
        adopt: bool,
    ) -> Result<Succession, StoreError> {
        let Some(recorded) = recorded else { return Ok(Succession::Record { moved_from: None }) };
        let changes = self.changes(recorded);
        if changes.is_empty() {
            let learns = recorded.cluster_id.is_none() && self.cluster_id.is_some();
            return Ok(if learns { Succession::Record { moved_from: None } } else { Succession::Same });
        }
        let rival = running.iter().find(|running| running.app != self.app || self.schema != recorded.schema || adopt);
        if let Some(Running { projection, app, host }) = rival {
            let reason = format!(
                "projection `{projection}` is also run by app `{app}` on host {host}, to which this database belongs"
            );
            return Err(StoreError::Deployment { reason: format!("{reason}: {}", changes.join("; ")) });
        }
        // Another log, or another app with another schema, is another deployment and not the same one with a new name.
        let is_another =
            self.reads_another_log_than(recorded) || (self.app != recorded.app && self.schema != recorded.schema);
        if is_another && !adopt {
            let reason =
                format!("the database holds the positions and tables of another deployment: {}", changes.join("; "));
            return Err(StoreError::Deployment { reason });
        }
        let moved_from = recorded.schema.clone().filter(|_| self.schema != recorded.schema);
        Ok(Succession::Record { moved_from })
    }

    /// Whether this deployment may request operations in a database that holds `recorded`.
    ///
    /// # Errors
    /// [`StoreError::Deployment`] if the database belongs to another deployment.
    pub(crate) fn is_that_of(&self, recorded: Option<&Deployment>) -> Result<(), StoreError> {
        self.succeed(recorded, &[], false).map(drop)
    }

    fn reads_another_log_than(&self, recorded: &Deployment) -> bool {
        let other_cluster = matches!((&self.cluster_id, &recorded.cluster_id), (Some(ours), Some(its)) if ours != its);
        self.topic_prefix != recorded.topic_prefix || other_cluster
    }

    /// The differences from `recorded`, a clause each.
    fn changes(&self, recorded: &Deployment) -> Vec<String> {
        let compared = [
            ("app", Some(&recorded.app), Some(&self.app)),
            ("topic prefix", Some(&recorded.topic_prefix), Some(&self.topic_prefix)),
            ("schema", recorded.schema.as_ref(), self.schema.as_ref()),
            ("cluster", recorded.cluster_id.as_ref(), self.cluster_id.as_ref()),
        ];
        let changed = compared.into_iter().filter_map(|(what, recorded, ours)| {
            let (recorded, ours) = (recorded?, ours?);
            (recorded != ours).then(|| format!("its {what} is `{recorded}`, and here it is `{ours}`"))
        });
        changed.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(app: &str, schema: &str, topic_prefix: &str, cluster: Option<&str>) -> Deployment {
        Deployment {
            app: app.into(),
            schema: Some(schema.into()),
            topic_prefix: topic_prefix.into(),
            cluster_id: cluster.map(Into::into),
        }
    }

    fn running(app: &str) -> Running {
        Running { projection: "orders".into(), app: app.into(), host: "db1".into() }
    }

    fn recorded() -> Deployment {
        deployment("shop", "public", "eu.", Some("c1"))
    }

    fn refused(ours: &Deployment, running: &[Running], adopt: bool) -> String {
        ours.succeed(Some(&recorded()), running, adopt).expect_err("it is another deployment").to_string()
    }

    #[test]
    fn the_first_one_is_recorded_and_the_same_goes_on() {
        let ours = recorded();
        assert_eq!(ours.succeed(None, &[], false), Ok(Succession::Record { moved_from: None }));
        assert_eq!(ours.succeed(Some(&ours), &[running("shop")], false), Ok(Succession::Same));
        let unknown = deployment("shop", "public", "eu.", None);
        assert_eq!(
            ours.succeed(Some(&unknown), &[], false),
            Ok(Succession::Record { moved_from: None }),
            "a cluster is learnt"
        );
        assert_eq!(unknown.succeed(Some(&ours), &[], false), Ok(Succession::Same), "and its absence says nothing");
    }

    #[test]
    fn another_log_is_another_deployment() {
        let us = refused(&deployment("shop", "public", "us.", Some("c1")), &[], false);
        assert_eq!(
            us,
            "the database holds the positions and tables of another deployment: its topic prefix is `eu.`, and here it is \
             `us.`"
        );
        assert!(refused(&deployment("shop", "public", "eu.", Some("c2")), &[], false).contains("cluster is `c1`"));
        assert!(refused(&deployment("other", "other", "eu.", Some("c1")), &[], false).contains("schema is `public`"));
    }

    #[test]
    fn it_is_taken_over_on_an_operators_word_and_while_nobody_runs() {
        let ours = deployment("new", "api", "us.", Some("c2"));
        assert_eq!(
            ours.succeed(Some(&recorded()), &[], true),
            Ok(Succession::Record { moved_from: Some("public".into()) })
        );
        assert!(refused(&ours, &[running("shop")], true).contains("`orders` is also run by app `shop` on host db1"));
    }

    #[test]
    fn a_new_name_or_schema_is_taken_while_nobody_runs_with_the_old_one() {
        let renamed = deployment("store", "public", "eu.", Some("c1"));
        assert_eq!(renamed.succeed(Some(&recorded()), &[], false), Ok(Succession::Record { moved_from: None }));
        assert!(
            refused(&renamed, &[running("shop")], false).starts_with("projection `orders` is also run by app `shop`")
        );
        let moved = deployment("shop", "api", "eu.", Some("c1"));
        let from = Some("public".to_owned());
        assert_eq!(moved.succeed(Some(&recorded()), &[], false), Ok(Succession::Record { moved_from: from }));
        assert!(refused(&moved, &[running("shop")], false).contains("schema is `public`, and here it is `api`"));
    }
}
