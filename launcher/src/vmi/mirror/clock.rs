use super::mirror;

mirror! {
    pub struct Clock {
        pub utc: Option<Utc>,
        pub timezone: Option<String>,
        pub timer: Timers,
    }

    pub struct Utc {
        pub offset_seconds: Option<i64>,
    }

    pub struct Timers {
        pub hpet: Option<Timer>,
        pub pit: Option<Timer>,
        pub rtc: Option<RtcTimer>,
        pub kvm: Option<Switch>,
        pub hyperv: Option<Switch>,
    }

    pub struct Timer {
        pub present: Option<bool>,
        pub tick_policy: Option<String>,
    }

    pub struct RtcTimer {
        pub present: Option<bool>,
        pub tick_policy: Option<String>,
        pub track: Option<String>,
    }

    /// A timer that is there or not.
    pub struct Switch {
        pub present: Option<bool>,
    }
}
