//! The same servers in containers, if a Docker engine is available.

use testcontainers::core::ContainerPort;
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt};

use super::free_port;
use super::local_kafka::PROPERTIES;
use super::local_postgres::Durability;
use crate::support::guard::ContainerGuard;

const POSTGRES: ContainerPort = ContainerPort::Tcp(5432);
const KAFKA: ContainerPort = ContainerPort::Tcp(9092);
const REGISTRY: ContainerPort = ContainerPort::Tcp(8080);

/// A container and the URL of its Postgres, or the reason why there is none.
pub(super) async fn postgres(durability: Durability) -> Result<(ContainerGuard, String), String> {
    let image = GenericImage::new("postgres", "17").with_exposed_port(POSTGRES);
    let settings = durability.settings().iter().chain(&["max_connections=200"]).flat_map(|setting| ["-c", *setting]);
    let request =
        image.with_cmd(["postgres"].into_iter().chain(settings)).with_env_var("POSTGRES_HOST_AUTH_METHOD", "trust");
    let (guard, container) = start(request).await?;
    let host = container.get_host().await.map_err(|error| error.to_string())?;
    let port = container.get_host_port_ipv4(POSTGRES).await.map_err(|error| error.to_string())?;
    Ok((guard, format!("postgres://postgres@{host}:{port}/postgres?sslmode=disable")))
}

/// A container and the address of its broker, or the reason why there is none.
pub(super) async fn kafka() -> Result<(ContainerGuard, String), String> {
    // A broker advertises its address, so its port must be known before it starts.
    let port = free_port();
    let image = GenericImage::new("apache/kafka", "4.3.1").with_exposed_port(KAFKA);
    let mut request = image
        .with_mapped_port(port, KAFKA)
        .with_env_var("KAFKA_LISTENERS", "PLAINTEXT://:9092,CONTROLLER://:9093")
        .with_env_var("KAFKA_ADVERTISED_LISTENERS", format!("PLAINTEXT://127.0.0.1:{port}"))
        .with_env_var("KAFKA_CONTROLLER_QUORUM_VOTERS", "1@localhost:9093");
    for (key, value) in PROPERTIES {
        // The image reads the server properties from variables of this form.
        request = request.with_env_var(format!("KAFKA_{}", key.to_uppercase().replace('.', "_")), value);
    }
    let (guard, _container) = start(request).await?;
    Ok((guard, format!("127.0.0.1:{port}")))
}

/// A container and the port of its schema registry, or the reason why there is none.
pub(super) async fn registry() -> Result<(ContainerGuard, u16), String> {
    let image = GenericImage::new("apicurio/apicurio-registry", "3.0.9").with_exposed_port(REGISTRY);
    let (guard, container) = start(ContainerRequest::from(image)).await?;
    let port = container.get_host_port_ipv4(REGISTRY).await.map_err(|error| error.to_string())?;
    Ok((guard, port))
}

async fn start(
    request: ContainerRequest<GenericImage>,
) -> Result<(ContainerGuard, std::mem::ManuallyDrop<ContainerAsync<GenericImage>>), String> {
    let container = request.start().await.map_err(|error| error.to_string())?;
    // The container lives as long as the process. Its own Drop would end it with the runtime of the first test.
    let container = std::mem::ManuallyDrop::new(container);
    Ok((ContainerGuard::watch(container.id()), container))
}
