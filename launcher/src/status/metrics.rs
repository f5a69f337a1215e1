//! A VM's metrics under KubeVirt's names (facts 12), in the text format that Prometheus scrapes.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// One value and what it is of, beside the VM: `("interface", "default")`.
pub type Sample = (Vec<(&'static str, String)>, f64);

/// One metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// KubeVirt's name, without `kubevirt_vmi_`, and without `_total`, which counters get by themselves.
    pub name: &'static str,
    /// For people.
    pub help: &'static str,
    /// It only grows.
    pub counter: bool,
    /// Its values.
    pub samples: Vec<Sample>,
}

impl Metric {
    /// What only grows.
    pub fn counter(name: &'static str, help: &'static str) -> Self {
        Self {
            name,
            help,
            counter: true,
            samples: Vec::new(),
        }
    }

    /// What goes up and down.
    pub fn gauge(name: &'static str, help: &'static str) -> Self {
        Self {
            counter: false,
            ..Self::counter(name, help)
        }
    }

    /// With the VM's one value, if there is one.
    #[must_use]
    pub fn of_vm(self, value: Option<f64>) -> Self {
        self.of(Vec::new(), value)
    }

    /// With one more value, if there is one.
    #[must_use]
    pub fn of(mut self, labels: Vec<(&'static str, String)>, value: Option<f64>) -> Self {
        self.samples.extend(value.map(|value| (labels, value)));
        self
    }
}

/// The text of one scrape.
pub fn text(namespace: &str, name: &str, metrics: Vec<Metric>) -> Result<String, fmt::Error> {
    let vm = vec![
        ("namespace", namespace.to_owned()),
        ("name", name.to_owned()),
    ];
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape { vm, metrics }));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Scrape {
    vm: Vec<(&'static str, String)>,
    metrics: Vec<Metric>,
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for metric in self.metrics.iter().filter(|one| !one.samples.is_empty()) {
            let kind = match metric.counter {
                true => MetricType::Counter,
                false => MetricType::Gauge,
            };
            let name = format!("kubevirt_vmi_{}", metric.name);
            let mut family = encoder.encode_descriptor(&name, metric.help, None, kind)?;
            for (labels, value) in &metric.samples {
                let all: Vec<_> = self.vm.iter().chain(labels).cloned().collect();
                let sample = family.encode_family(&all)?;
                match metric.counter {
                    true => ConstCounter::new(*value).encode(sample)?,
                    false => ConstGauge::new(*value).encode(sample)?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels_are_kubevirts() {
        let metrics = vec![
            Metric::counter("cpu_usage_seconds", "CPU time of QEMU").of_vm(Some(1.5)),
            Metric::gauge("memory_resident_bytes", "Memory").of_vm(Some(4096.0)),
            Metric::counter("network_receive_bytes", "Received")
                .of(vec![("interface", "default".to_owned())], Some(7.0)),
            Metric::gauge("memory_unused_bytes", "Not told").of_vm(None),
        ];
        let text = text("ns", "vm", metrics).unwrap();
        for line in [
            r#"kubevirt_vmi_cpu_usage_seconds_total{namespace="ns",name="vm"} 1.5"#,
            r#"kubevirt_vmi_memory_resident_bytes{namespace="ns",name="vm"} 4096.0"#,
            r#"kubevirt_vmi_network_receive_bytes_total{namespace="ns",name="vm",interface="default"} 7.0"#,
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert!(!text.contains("unused"), "{text}");
    }
}
