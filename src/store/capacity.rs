//! Whether a server has the connections that all instances together may take.

/// The connections of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionCapacity {
    /// How many the server has for roles that are no superusers.
    pub server: u32,
    /// How many are others' at the moment.
    pub others: u32,
    /// How many processes of the deployment run.
    pub processes: u32,
    /// How many connections those may take together.
    pub ours: u32,
}

impl ConnectionCapacity {
    /// Whether there is room for what runs, or, where nothing runs, for one process with `configured` connections.
    ///
    /// # Errors
    /// A sentence with the number to set.
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
