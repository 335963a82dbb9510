/** Programs of the comparison. */

/** The environment of a program. */
export interface PeerSetup {
  /** Port to listen at. */
  readonly port: number;
  /** Ports of the servers. */
  readonly servers: readonly number[];
  /** A directory for its configuration files and the like. */
  readonly directory: string;
  /** Root of the repository. */
  readonly root: string;
}

/** The command that starts a program. */
export interface PeerCommand {
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** A measured program, one process tree. */
export interface Peer {
  /** Short name, for the command line and the results. */
  readonly name: string;
  /** Name for display. */
  readonly title: string;
  /** `"floor"` is not a proxy; it shows the lowest possible cost. */
  readonly kind: "lbproxy" | "proxy" | "floor";
  /** Names of its scenarios. @default {all scenarios for proxies} */
  readonly scenarios?: readonly string[];
  /** The executable, to check whether it is installed. */
  readonly program: string;
  /** How to install the program. */
  readonly install: string;
  /** Arguments that print its version. */
  readonly versionArgs: readonly string[];
  /** Writes the files of the program, and returns the command that starts it. */
  prepare(setup: PeerSetup): Promise<PeerCommand>;
}
