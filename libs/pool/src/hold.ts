/**
 * What a run holds of disks at the host: a backup its snapshot, a recovery its target. Proxies hold them in their turn, and leases ports of
 * proxies; none of that is begun before the hold is `ready`, and all of it is given back before the hold is (run-steps.ts).
 *
 *         SnapshotRequested              SnapshotTaken                  SnapshotReleased
 *         TargetRequested                TargetCreated                  TargetKept, TargetDiscarded
 *   none ───────────────────▶ requested ───────────────▶ ready ─────────────────────────────────────▶ released
 *                                                         │ ▲
 *                             SnapshotLost, TargetLost    ▼ │   SnapshotTaken, TargetCreated
 *                                                        lost   (the same disks, served again)
 *
 * A run that ends gives back from `requested` and `lost` as well; one that ends at `none` has nothing to give back. An instant recovery has
 * its VM first and its data after, and is never lost, because nobody serves its disks:
 *
 *   ready ──TargetKept──▶ filling ──TargetFilled, TargetLeft──▶ released
 */
export type Hold = 'none' | 'requested' | 'ready' | 'lost' | 'filling' | 'released';
