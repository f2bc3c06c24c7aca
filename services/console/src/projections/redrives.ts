/** Dead letters that somebody had sent again. The letters themselves are read where messaging keeps them. */
import type { EventData } from '@backhaul/contracts';
import type { Projection } from '../projection.ts';

type Redrive = Pick<
  EventData<'DeadLetterRedriven'>,
  'deadLetterId' | 'reason' | 'requestedBy' | 'redrivenAt'
> & {
  readonly position: number;
};

export const redrives: Projection<Redrive> = {
  table: 'redrives',
  key: ['deadLetterId'],
  columns: {
    deadLetterId: 'text',
    reason: 'text',
    requestedBy: 'text',
    redrivenAt: 'instant',
    position: 'bigint',
  },
  indexes: [],
  concerns: (event) =>
    event.type === 'DeadLetterRedriven' ? [{ deadLetterId: event.data.deadLetterId }] : [],
  evolve(row, event) {
    if (event.type !== 'DeadLetterRedriven') return row;
    const { deadLetterId, reason, requestedBy, redrivenAt } = event.data;
    return { deadLetterId, reason, requestedBy, redrivenAt };
  },
};
