//! What a client asked for with CONNECT.

/// What a client asked for with CONNECT, or the reference's defaults for one that sent none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wants {
    /// `+OK` for each operation.
    pub(crate) verbose: bool,
    /// Complaints about subjects that cannot be published to.
    pub(crate) pedantic: bool,
    /// Its own messages delivered to it.
    pub(crate) echo: bool,
    /// Messages with headers.
    pub(crate) headers: bool,
    /// To be told when nobody can answer.
    pub(crate) no_responders: bool,
    /// An INFO that comes later.
    pub(crate) later_info: bool,
}

impl Wants {
    /// Of someone who speaks HTTP, and is not to hear a word of the NATS client protocol.
    pub(crate) const HTTP: Wants = Wants {
        verbose: false,
        pedantic: false,
        echo: true,
        headers: true,
        no_responders: false,
        later_info: false,
    };
}

impl Default for Wants {
    fn default() -> Self {
        Wants {
            verbose: true,
            pedantic: true,
            echo: true,
            headers: false,
            no_responders: false,
            later_info: false,
        }
    }
}
