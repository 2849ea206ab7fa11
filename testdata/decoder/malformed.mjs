// Malformed is thrown by the parsers (JSON, Snappy, Zstandard) for input that
// breaks their rules. Any other exception is a mistake of this program.
export class Malformed extends Error {}
