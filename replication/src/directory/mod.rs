//! The directory: an etcd that both nodes can ask, and what stands in it.
