use super::mirror;

mirror! {
    pub struct Features {
        pub acpi: State,
        pub apic: Option<Apic>,
        pub smm: Option<State>,
        pub pvspinlock: Option<State>,
        pub kvm: Kvm,
        pub hyperv: Option<Hyperv>,
        pub hyperv_passthrough: Option<State>,
    }

    /// Present means on, unless it says otherwise.
    pub struct State {
        pub enabled: Option<bool>,
    }

    pub struct Apic {
        pub enabled: Option<bool>,
        pub end_of_interrupt: Option<bool>,
    }

    pub struct Kvm {
        pub hidden: Option<bool>,
    }

    pub struct Hyperv {
        pub relaxed: Option<State>,
        pub vapic: Option<State>,
        pub spinlocks: Option<Spinlocks>,
        pub vpindex: Option<State>,
        pub runtime: Option<State>,
        pub synic: Option<State>,
        pub synictimer: Option<SyNicTimer>,
        pub reset: Option<State>,
        pub vendorid: Option<VendorId>,
        pub frequencies: Option<State>,
        pub reenlightenment: Option<State>,
        pub tlbflush: Option<TlbFlush>,
        pub ipi: Option<State>,
        pub evmcs: Option<State>,
    }

    pub struct Spinlocks {
        pub enabled: Option<bool>,
        /// Retries.
        pub spinlocks: Option<u32>,
    }

    pub struct SyNicTimer {
        pub enabled: Option<bool>,
        pub direct: Option<State>,
    }

    pub struct VendorId {
        pub enabled: Option<bool>,
        pub vendorid: Option<String>,
    }

    pub struct TlbFlush {
        pub enabled: Option<bool>,
        pub direct: Option<State>,
        pub extended: Option<State>,
    }
}

impl State {
    /// Whether it is on, where `enabled` may be left out.
    pub fn is_on(&self) -> bool {
        self.enabled.unwrap_or(true)
    }
}
