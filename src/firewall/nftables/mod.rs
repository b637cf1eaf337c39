//! nftables: pinholes as set elements, over netlink.
