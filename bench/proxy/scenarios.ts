/** What the peers are asked for. */

/** One kind of request. */
export interface Scenario {
  readonly name: string;
  readonly title: string;
  readonly path: string;
  readonly method: "GET" | "POST";
  /** Bytes of content that the request has. */
  readonly requestBytes: number;
  /** Bytes of content that a server answers with. */
  readonly responseBytes: number;
  /** What the client has to get. */
  readonly status: number;
  /** Only peers that name it take part. */
  readonly special: boolean;
}

const GET = { method: "GET", requestBytes: 0, status: 200, special: false } as const;

/** All of them, in the order in which they are measured. */
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
