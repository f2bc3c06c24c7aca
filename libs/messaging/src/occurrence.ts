/** What happens in here, for whoever counts it. `consumer` is `<service>__<purpose>`. */
export type Occurrence =
  | {
      readonly kind: 'handled' | 'skipped' | 'let-go' | 'failed' | 'dead-lettered';
      readonly consumer: string;
    }
  | { readonly kind: 'published'; readonly type: string };

export type Observer = (occurrence: Occurrence) => void;
