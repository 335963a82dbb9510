/** The requests for the programs. */

/** One kind of request. */
export interface Scenario {
  readonly name: string;
  readonly title: string;
  readonly path: string;
  readonly method: "GET" | "POST";
  /** Bytes of content of the request. */
  readonly requestBytes: number;
  /** Bytes of content of the server's response. */
  readonly responseBytes: number;
  /** Expected status for the client. */
  readonly status: number;
  /** Whether only programs that name it take part. */
  readonly special: boolean;
}

const GET = { method: "GET", requestBytes: 0, status: 200, special: false } as const;

/** All scenarios, in the order of measurement. */
export const SCENARIOS: readonly Scenario[] = [
  { ...GET, name: "12b", title: "12 B", path: "/12", responseBytes: 12 },
  { ...GET, name: "10k", title: "10 KiB", path: "/10k", responseBytes: 10_240 },
  { ...GET, name: "100k", title: "100 KiB", path: "/100k", responseBytes: 102_400 },
  { ...GET, name: "1m", title: "1 MiB", path: "/1m", responseBytes: 1_048_576 },
  {
    name: "post",
    title: "POST 10 KiB",
    path: "/12",
    method: "POST",
    requestBytes: 10_240,
    responseBytes: 12,
    status: 200,
    special: false,
  },
  { ...GET, name: "429", title: "429", path: "/12", responseBytes: 0, status: 429, special: true },
];
