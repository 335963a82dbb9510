/** Amounts of memory and of traffic as an operator writes them. */

/** A size: bytes as a number, or text such as `"64KiB"`, `"10MB"`, `"1GiB"`. */
export type ByteSize = number | string;

const UNIT_BYTES: Readonly<Record<string, number>> = {
  B: 1,
  KB: 1000,
  KiB: 1024,
  MB: 1000 ** 2,
  MiB: 1024 ** 2,
  GB: 1000 ** 3,
  GiB: 1024 ** 3,
};
const PATTERN = /^(\d+(?:\.\d+)?)(B|KB|KiB|MB|MiB|GB|GiB)$/;

/** What a size has to look like, for error messages. */
export const BYTE_SIZE_EXPECTED = 'a size such as "64KiB", "10MB" or a number of bytes';

/** Reads a size, in whole bytes; `undefined` when the value is not one. */
export function parseByteSize(value: unknown): number | undefined {
  if (typeof value === "number") return Number.isSafeInteger(value) && value >= 0 ? value : undefined;
  if (typeof value !== "string") return undefined;
  const match = PATTERN.exec(value);
  if (match === null) return undefined;
  return Math.floor(Number(match[1]) * UNIT_BYTES[match[2] as string]!);
}
