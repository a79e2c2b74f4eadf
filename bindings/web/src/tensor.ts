/** Nested arrays of numbers. */
export type Nested = number | Nested[];

/** Numbers with their dimensions, as feature extraction of transformers.js returns them. */
export class Tensor {
  readonly type = 'float32';

  /** @param truncated for each text, whether its end was not read. */
  constructor(
    readonly data: Float32Array,
    readonly dims: readonly number[],
    readonly truncated: readonly boolean[],
  ) {}

  /** The number of numbers. */
  get size(): number {
    return this.data.length;
  }

  /** Returns nested arrays. */
  tolist(): Nested {
    const list = (depth: number, offset: number): Nested => {
      if (depth === this.dims.length) return this.data[offset] as number;
      const step = this.dims.slice(depth + 1).reduce((product, dim) => product * dim, 1);
      return Array.from({ length: this.dims[depth] as number }, (_, i) => list(depth + 1, offset + i * step));
    };
    return list(0, 0);
  }
}
