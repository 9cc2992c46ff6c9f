//! Kubernetes: a JobSet whose pods are the nodes, with the configuration beside it.
//!
//! The pods of one indexed job meet under the names that the JobSet's headless service gives them. If one asks for it
//! by exit code 75, or its node is drained or lost, all start again; any other failure ends the job.

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::{job::Job, options::Link};

/// What Kubernetes alone is told.
#[derive(Args, Default)]
pub(crate) struct Options {
    /// The image of the pods, with `fp8lm` in its PATH
    #[arg(long, value_name = "IMAGE")]
    image: String,
    /// The claim of the volume that holds run folders, which is mounted where the run folder's parent is
    #[arg(long, value_name = "NAME")]
    claim: String,
    /// The secret whose key `token` lets processes meet
    #[arg(long, value_name = "NAME", default_value = "fp8lm-token")]
    secret: String,
    /// Seconds for saving when a pod is asked to end
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    grace_period: u32,
}

/// The manifest: a ConfigMap and a JobSet.
pub(super) fn render(job: &Job, options: &Options) -> Result<String> {
    let name = name(&job.name)?;
    let (head, pod) = (head(job, options, &name), pod(job, options, &name)?);
    let Job { nodes, max_restarts, .. } = job;
    Ok(format!(
        "{head}---
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: {name}
spec:
  failurePolicy:
    maxRestarts: {max_restarts}
    rules:
      - name: failed
        action: FailJobSet
        onJobFailureReasons: [PodFailurePolicy]
  network:
    enableDNSHostnames: true
    subdomain: {name}
  replicatedJobs:
    - name: {NODES}
      replicas: 1
      template:
        spec:
          completionMode: Indexed
          completions: {nodes}
          parallelism: {nodes}
          backoffLimit: 0
          podFailurePolicy:
            rules:
              # A node that is drained or lost.
              - action: Count
                onPodConditions:
                  - type: DisruptionTarget
                    status: \"True\"
              # All but what asks to be started again.
              - action: FailJob
                onExitCodes:
                  containerName: {CONTAINER}
                  operator: NotIn
                  values: [75]
          template:
            spec:
{}",
        indent(14, &pod)
    ))
}

/// What the job needs beside it: the secret, which is nobody's to print, and the configuration.
fn head(job: &Job, options: &Options, name: &str) -> String {
    let mut head = format!("# {}\n", job.summary());
    if job.link == Link::Nccl {
        let secret = &options.secret;
        head += &format!(
            "# It needs a secret: kubectl create secret generic {secret} --from-literal=token=$(openssl rand -hex 32)\n"
        );
    }
    head +=
        &format!("# What is there is not changed; to start again: kubectl delete jobset {name}\n");
    let toml = indent(4, &job.toml);
    head + &format!(
        "apiVersion: v1
kind: ConfigMap
metadata:
  name: {name}
data:
  config.toml: |
{toml}"
    )
}

/// The specification of the pods.
fn pod(job: &Job, options: &Options, name: &str) -> Result<String> {
    let folder = job.run.rsplit_once('/').map(|(folder, _)| folder);
    let folder = folder.filter(|folder| !folder.is_empty());
    let folder = folder.with_context(|| {
        format!("--run {}: expected a folder in a volume, such as /runs/a", job.run)
    })?;
    let Options { image, claim, grace_period, .. } = options;
    let (image, claim, folder) = (quote(image), quote(claim), quote(folder));
    let command: String =
        command(job, name).iter().map(|word| format!("      - {}\n", quote(word))).collect();
    let (environment, gpus) = (indent(4, &environment(job, options)), indent(4, &gpus(job)));
    Ok(format!(
        "restartPolicy: Never
terminationGracePeriodSeconds: {grace_period}
containers:
  - name: {CONTAINER}
    image: {image}
    command:
{command}{environment}{gpus}    volumeMounts:
      - name: config
        mountPath: {CONFIG}
      - name: runs
        mountPath: {folder}
      - name: shm
        mountPath: /dev/shm
volumes:
  - name: config
    configMap:
      name: {name}
  - name: runs
    persistentVolumeClaim:
      claimName: {claim}
  - name: shm
    emptyDir:
      medium: Memory
"
    ))
}

/// What a pod runs. Kubernetes puts values for `$(NAME)`.
fn command(job: &Job, name: &str) -> Vec<String> {
    let mut words = vec!["fp8lm".to_owned(), "spawn".to_owned()];
    let mut add = |option: &str, value: String| words.extend([option.to_owned(), value]);
    add("--processes", job.processes_per_node.to_string());
    if job.nodes > 1 {
        add("--nodes", job.nodes.to_string());
        add("--node-rank", "$(NODE_RANK)".to_owned());
        add("--master", format!("{name}-{NODES}-0-0.{name}:{PORT}"));
    }
    add("--logs", escape(&job.logs));
    words.extend(["--", "fp8lm", "train", "--config"].map(str::to_owned));
    words.extend([format!("{CONFIG}/config.toml"), "--run".to_owned(), escape(&job.run)]);
    words.push("--restart".to_owned());
    words.extend(job.place().flatten().map(str::to_owned));
    words
}

/// The variables of a container: where its pod stands, and the secret.
fn environment(job: &Job, options: &Options) -> String {
    let mut text = String::new();
    if job.nodes > 1 {
        text += "  - name: NODE_RANK
    valueFrom:
      fieldRef:
        fieldPath: metadata.annotations['batch.kubernetes.io/job-completion-index']
";
    }
    if job.link == Link::Nccl {
        let secret = quote(&options.secret);
        text += &format!(
            "  - name: FP8LM_TOKEN
    valueFrom:
      secretKeyRef:
        name: {secret}
        key: token
"
        );
    }
    if text.is_empty() { text } else { format!("env:\n{text}") }
}

fn gpus(job: &Job) -> String {
    match job.link {
        Link::Nccl => {
            format!("resources:\n  limits:\n    nvidia.com/gpu: {}\n", job.processes_per_node)
        }
        _ => String::new(),
    }
}

/// A name that Kubernetes takes for everything that bears it, pods' host names among them.
fn name(run: &str) -> Result<String> {
    let name = run.to_lowercase().replace(['_', '.', ' '], "-");
    let is_valid = name.len() <= LONGEST
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    ensure!(
        is_valid,
        "--run .../{run}: expected a name of at most {LONGEST} letters, digits and hyphens that begins with a letter"
    );
    Ok(name)
}

/// The word as YAML, and as JSON, which YAML takes.
fn quote(word: &str) -> String {
    serde_json::Value::from(word).to_string()
}

/// The word, so that Kubernetes puts in nothing for what looks like a variable.
fn escape(word: &str) -> String {
    word.replace("$(", "$$(")
}

fn indent(columns: usize, text: &str) -> String {
    let line =
        |line: &str| if line.is_empty() { "\n".into() } else { format!("{:columns$}{line}\n", "") };
    text.lines().map(line).collect()
}

const NODES: &str = "nodes";
const CONTAINER: &str = "fp8lm";
/// Where a pod has the configuration.
const CONFIG: &str = "/etc/fp8lm";
/// Where rank 0 serves.
const PORT: u16 = 29500;
/// Of a name, so that those of pods stay below 63.
const LONGEST: usize = 40;
