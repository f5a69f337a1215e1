//! Kubernetes quantities (`1.5Gi`, `2e3`, `500m`), exactly.
