/**
 * Chance by name: the same seed and the same name give the same number, whatever was drawn before. So a VM writes as much under
 * one policy as under another, and what is compared is the policies.
 */
export class Chance {
  readonly #seed: number;

  constructor(seed: number) {
    this.#seed = mixed(seed >>> 0);
  }

  /** At least 0, less than 1. */
  of(...name: readonly (string | number)[]): number {
    let state = this.#seed;
    for (const part of name) {
      const text = String(part);
      // FNV-1a, and a mark between parts, so that ("ab", "c") and ("a", "bc") differ.
      for (let index = 0; index < text.length; index += 1)
        state = Math.imul(state ^ text.charCodeAt(index), 0x01000193);
      state = Math.imul(state ^ 0xffff, 0x01000193);
    }
    return mixed(state) / 2 ** 32;
  }

  /** A factor about 1: from 1 - share to 1 + share. */
  about(share: number, ...name: readonly (string | number)[]): number {
    return share === 0 ? 1 : 1 + share * (2 * this.of(...name) - 1);
  }
}

/** The finaliser of MurmurHash3: every bit of the state has its say in every bit of the result. */
function mixed(state: number): number {
  let h = state;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
