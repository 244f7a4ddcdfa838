//! Whether a server has enough connections for all instances together.

/// The connection slots of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionCapacity {
    /// The slots that the server has for roles that are not superusers.
    pub server: u32,
    /// The slots that other clients use at the moment.
    pub others: u32,
    /// The number of running processes of the deployment.
    pub processes: u32,
    /// The sum of the connection limits of those processes.
    pub ours: u32,
}

impl ConnectionCapacity {
    /// Whether the server has enough slots for the running processes, or for one process with `configured` connections
    /// if no process runs. Returns a sentence with the numbers.
    ///
    /// # Errors
    /// A sentence with the numbers and with the setting to change.
    pub fn suffices_for(&self, configured: u32) -> Result<String, String> {
        let (processes, ours) = if self.processes == 0 { (1, configured) } else { (self.processes, self.ours) };
        let instances = if processes == 1 { "1 instance".to_owned() } else { format!("{processes} instances") };
        let told = format!(
            "{instances} may take {ours} connections; the server has {}, and others have {} of them now",
            self.server, self.others
        );
        let free = self.server.saturating_sub(self.others);
        if ours <= free {
            return Ok(told);
        }
        Err(format!(
            "{told}. Set `store.max_connections` to at most {}, or raise the server's `max_connections`",
            free / processes
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_to_set_is_told_when_the_server_has_too_few() {
        let three = ConnectionCapacity { server: 97, others: 10, processes: 3, ours: 120 };
        let told = three.suffices_for(40).expect_err("120 are more than 87");
        assert_eq!(
            told,
            "3 instances may take 120 connections; the server has 97, and others have 10 of them now. Set \
             `store.max_connections` to at most 29, or raise the server's `max_connections`"
        );
        assert!(ConnectionCapacity { ours: 87, ..three }.suffices_for(40).is_ok());
        let nobody = ConnectionCapacity { processes: 0, ours: 0, ..three };
        assert!(nobody.suffices_for(20).expect("87 are free").starts_with("1 instance may take 20 connections"));
        assert!(nobody.suffices_for(88).is_err());
    }
}
