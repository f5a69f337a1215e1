//! A DHCPv4 server for one client on one link.
