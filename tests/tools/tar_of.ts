/** One record of an archive to be made. */
export interface TarEntry {
  path: string;
  body: string;
  /** What the record is: `"0"`, a regular file, if left out. */
  type?: string;
  prefix?: string;
}

/** Writes a ustar archive. */
export function tarOf(entries: TarEntry[]): Uint8Array<ArrayBuffer> {
  const records = entries.flatMap(({ path, body, type = "0", prefix = "" }) => {
    const bytes = new TextEncoder().encode(body);
    const header = new Uint8Array(512);
    const put = (text: string, at: number) => header.set(new TextEncoder().encode(text), at);
    put(path, 0);
    put(bytes.length.toString(8).padStart(11, "0"), 124);
    put(type, 156);
    put("ustar\x0000", 257);
    put(prefix, 345);
    const padded = new Uint8Array(Math.ceil(bytes.length / 512) * 512);
    padded.set(bytes);
    return [header, padded];
  });
  const end = new Uint8Array(1024);
  const tar = new Uint8Array(records.reduce((sum, record) => sum + record.length, end.length));
  let at = 0;
  for (const record of records) {
    tar.set(record, at);
    at += record.length;
  }
  return tar;
}
