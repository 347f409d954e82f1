import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, closeSync, existsSync, mkdirSync, openSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { NETWORK } from "./bridge.ts";

/** What an image is here: a command on this machine, in a root that is this machine's, with folders of it laid over. */
export interface Image {
  entrypoint: readonly string[];
  /** The image's CMD: what runs unless the container says `args`. */
  args?: readonly string[];
  env?: Readonly<Record<string, string>>;
  workingDir?: string;
  /** Unless a security context says otherwise; root. */
  user?: number;
  /** Folders of this machine that the image has elsewhere, or that are file systems of their own. */
  folders?: readonly { source: string; target: string }[];
}

export interface Mount {
  source: string;
  target: string;
  isReadOnly: boolean;
}

export interface ContainerSpec {
  /** A folder of its own for this one attempt. */
  home: string;
  logFile: string;
  hostname: string;
  ip: string;
  namespace: string;
  /** nsenter's arguments into the pod's network. */
  enter: readonly string[];
  argv: readonly string[];
  env: Readonly<Record<string, string>>;
  workingDir: string;
  mounts: readonly Mount[];
  user: number;
  group: number;
  groups: readonly number[];
  isRootReadOnly: boolean;
  /** All capabilities are dropped and none can be got. */
  isRestricted: boolean;
}

/** One attempt at a container: a process that is number 1 of its own process namespace. */
export interface ContainerProcess {
  readonly exited: Promise<{ exitCode: number }>;
  signal(signal: NodeJS.Signals): void;
  /** What a command is an argument of to run inside, as the container's user with its variables. Leads nowhere once the process has ended. */
  inside(): readonly string[];
  /** Runs a command inside. Resolves to whether it ended with 0 within `limitMs`. */
  execute(argv: readonly string[], limitMs: number): Promise<boolean>;
  /** What it wrote to its termination message's file; what its log ends with where it wrote nothing. */
  message(fallsBackToLog: boolean): string;
}

/** Resolves when its mounts are made and its command takes over, so that the next container finds what this one has made in a shared volume; or when it ended before. */
export async function startContainer(spec: ContainerSpec): Promise<ContainerProcess> {
  mkdirSync(spec.home, { recursive: true });
  const terminationLog = join(spec.home, "termination-log");
  writeFileSync(terminationLog, "");
  chmodSync(terminationLog, 0o666);
  const script = join(spec.home, "start.sh");
  writeFileSync(script, scriptOf(spec, terminationLog));
  const log = openSync(spec.logFile, "a");
  const before = statSync(spec.logFile).size;
  const command = ["--pdeathsig", "KILL", "nsenter", ...spec.enter, "unshare", "--mount", "--pid", "sh", "-c", FIRST, "container", script];
  const child = spawn("setpriv", command, { stdio: ["ignore", log, log, "pipe"], env: { PATH: process.env["PATH"] ?? "" } });
  await once(child, "spawn");
  closeSync(log);
  const exited = once(child, "close").then((values) => {
    const [code, signal] = values as [number | null, NodeJS.Signals | null];
    return { exitCode: code ?? 128 + (SIGNALS[signal ?? "SIGKILL"] ?? 9) };
  });
  const isMade = child.stdio[3];
  if (isMade instanceof Readable) await Promise.race([once(isMade, "data"), exited]);
  const first = (): string | undefined => {
    const file = `/proc/${child.pid}/task/${child.pid}/children`;
    return existsSync(file) ? readFileSync(file, "utf8").trim().split(" ")[0] : undefined;
  };
  const inside = (): string[] => {
    const enter = ["--target", first() ?? "", "--mount", "--pid", "--net", "--uts", "--root", "--wd"];
    return ["nsenter", ...enter, ...credentials(spec), "env", "-i", ...variables(spec)];
  };
  return {
    exited,
    inside,
    signal(signal) {
      const pid = Number(first());
      if (pid > 0) process.kill(pid, signal);
      else if (signal === "SIGKILL") child.kill(signal);
    },
    async execute(argv, limitMs) {
      const [command = "", ...args] = [...inside(), ...argv];
      const run = spawn(command, args, { stdio: "ignore" });
      const ended = once(run, "close").then(([code]) => code === 0);
      const late = sleep(limitMs, false, { ref: false });
      const isOk = await Promise.race([ended.catch(() => false), late]);
      if (!isOk) run.kill("SIGKILL");
      return isOk;
    },
    message(fallsBackToLog) {
      const written = readFileSync(terminationLog, "utf8").slice(0, 4096);
      if (written !== "" || !fallsBackToLog) return written;
      return readFileSync(spec.logFile).subarray(before).toString().slice(-2048).split("\n").slice(-80).join("\n").trim();
    },
  };
}

/** The first child after unshare is number 1 of the new process namespace. unshare's own --fork does not tell by which signal that one ended. */
const FIRST = 'setpriv --pdeathsig KILL sh "$1" & wait $!';

const SIGNALS: Partial<Record<NodeJS.Signals, number>> = { SIGHUP: 1, SIGINT: 2, SIGABRT: 6, SIGKILL: 9, SIGSEGV: 11, SIGTERM: 15 };

/** Runs in new mount and process namespaces: builds the root and becomes the container's command. */
function scriptOf(spec: ContainerSpec, terminationLog: string): string {
  const top = join(spec.home, "root");
  const mounts = [...spec.mounts, { source: terminationLog, target: "/dev/termination-log", isReadOnly: false }];
  const outside = [
    "set -e",
    // Another file system than the one that lies below it, as an overlay asks for.
    `mkdir -p ${quote(top)}`,
    `mount -t tmpfs -o mode=755 tmpfs ${quote(top)}`,
    `cd ${quote(top)}`,
    "mkdir upper work merged upper/etc upper/.sources",
    `printf '127.0.0.1 localhost\\n%s %s\\n' ${quote(spec.ip)} ${quote(spec.hostname)} > upper/etc/hosts`,
    `printf '%s\\n' ${quote(`nameserver ${NETWORK.dnsIp}`)} ${quote(searchOf(spec.namespace))} 'options ndots:5 timeout:2' > upper/etc/resolv.conf`,
    "mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work merged",
    `cd ${quote(join(top, "merged"))}`,
    "mount -t proc proc proc",
    "mount --rbind /sys sys",
    // Not the machine's own devices: files are laid over some of them.
    "mount -t tmpfs -o mode=755 tmpfs dev",
    "mkdir dev/shm dev/pts",
    "chmod 1777 dev/shm",
    "for name in null zero full random urandom tty; do touch dev/$name; mount --bind /dev/$name dev/$name; done",
    "ln -s /proc/self/fd dev/fd",
    "ln -s /proc/self/fd/1 dev/stdout",
    "ln -s /proc/self/fd/2 dev/stderr",
    "ln -s /proc/self/fd/0 dev/stdin",
    ...mounts.map(({ source }, index) => `${makeLike(source, `.sources/${index}`)}\nmount --rbind ${quote(source)} .sources/${index}`),
  ];
  // Where a path leads is decided inside: a link such as /var/run would lead out to the machine's own folders.
  const inside = [
    "set -e",
    // Interpreters of this machine's root user are part of the image, for every user.
    "chmod a+rx /root",
    ...mounts.map(mountLine),
    ...(spec.isRootReadOnly ? ["mount -o remount,ro /"] : []),
    // To whoever started it.
    "echo made >&3",
    "exec 3>&-",
    ["exec", ...credentials(spec), "env -i -C", quote(spec.workingDir), ...variables(spec).map(quote), ...spec.argv.map(quote)].join(" "),
  ];
  return `${[...outside, `exec chroot . sh -c ${quote(inside.join("\n"))}`].join("\n")}\n`;
}

function mountLine({ source, target, isReadOnly }: Mount, index: number): string {
  const lines = [makeLike(source, quote(target)), `mount --rbind /.sources/${index} ${quote(target)}`, `umount --lazy /.sources/${index}`];
  return [...lines, ...(isReadOnly ? [`mount -o remount,bind,ro ${quote(target)}`] : [])].join("\n");
}

/** A place for a mount: a folder for a folder, a file for a file. One line for each step: of an AND list the shell's `set -e` minds the last part only. */
function makeLike(source: string, target: string): string {
  return statSync(source).isDirectory() ? `mkdir -p ${target}` : `mkdir -p "$(dirname ${target})"\ntouch ${target}`;
}

function credentials({ user, group, groups, isRestricted }: ContainerSpec): string[] {
  const who = [
    "--reuid",
    String(user),
    "--regid",
    String(group),
    ...(groups.length > 0 ? ["--groups", groups.join(",")] : ["--clear-groups"]),
  ];
  const rights = isRestricted ? ["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"] : [];
  // A change of the user forgets the signal that the process got from whoever started it.
  return ["setpriv", "--pdeathsig", "KILL", ...who, ...rights, "--"];
}

function variables({ env }: ContainerSpec): string[] {
  return Object.entries({ PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", ...env }).map(
    ([name, value]) => `${name}=${value}`,
  );
}

function searchOf(namespace: string): string {
  return `search ${namespace}.svc.cluster.local svc.cluster.local cluster.local`;
}

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
