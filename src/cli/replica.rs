//! Arguments of `replica`.

use clap::{Args, Subcommand};

use super::{InitArguments, PlaceArguments};

/// What can be done about the pair.
#[derive(Subcommand)]
pub(crate) enum ReplicaVerb {
    /// Make an invitation for a second node, on the running first one
    Invite {
        /// Where the second node reaches this one: host and port
        #[arg(long)]
        address: String,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Become the second node: make its data directory from an invitation
    Join(JoinArguments),
    /// Show how the pair is
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Compare what both nodes hold, whole, while they serve; asked on the primary
    Compare {
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Make this node a full copy of the other one; what it alone has is thrown away
    FullSync {
        /// That is wanted
        #[arg(long)]
        yes: bool,
        /// Give up a copy that is on its way
        #[arg(long, conflicts_with = "yes")]
        stop: bool,
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Go on alone: the other node is lost for good, and is let in no more
    Forget {
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Hand over, as planned: the node that follows becomes primary; said on either node
    Switch {
        #[command(flatten)]
        place: PlaceArguments,
    },
    /// Make the running node primary, when the other one is gone
    Promote {
        #[command(flatten)]
        place: PlaceArguments,
    },
}

/// What `replica join` needs.
#[derive(Args)]
pub(crate) struct JoinArguments {
    /// The invitation
    pub(crate) token: String,
    #[command(flatten)]
    pub(crate) init: InitArguments,
    /// Where the first node reaches this one: host and port; needed if the first one is to dial
    #[arg(long)]
    pub(crate) address: Option<String>,
}
