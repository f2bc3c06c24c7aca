/** What a request changes of a policy: what it does not name keeps its value. */
export function withChanges<Policy extends object>(
  before: Policy,
  changes: { readonly [F in keyof Policy]?: Policy[F] | undefined },
): Policy {
  const named = Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== undefined));
  return { ...before, ...named };
}

/** Undefined: nothing is otherwise than it was. */
export const differing = <Policy>(before: unknown, after: Policy): Policy | undefined =>
  JSON.stringify(after) === JSON.stringify(before) ? undefined : after;
