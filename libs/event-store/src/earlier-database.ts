/** For tests: a database that is put back to an earlier state of itself under those who use it, as a backup that was restored or a late replica. */
import pg from 'pg';

export interface EarlierDatabase {
  /** Remembers how the database is now. Ends its connections. */
  remember(): Promise<void>;
  /** Makes it what was remembered. Ends its connections. */
  putBack(): Promise<void>;
  /** Ends its connections, as a server does that goes away and comes back. */
  interrupt(): Promise<void>;
}

export function earlierDatabase(adminUrl: string, name: string): EarlierDatabase {
  const administer = async (...statements: string[]): Promise<void> => {
    const admin = new pg.Client({ connectionString: adminUrl });
    await admin.connect();
    try {
      for (const statement of statements) {
        await admin.query(`select pg_terminate_backend(pid) from pg_stat_activity where datname = '${name}'`);
        await admin.query(statement);
      }
    } finally {
      await admin.end();
    }
  };
  return {
    remember: () => administer(`create database ${name}_earlier template ${name}`),
    putBack: () =>
      administer(
        `alter database ${name} rename to ${name}_lost`,
        `alter database ${name}_earlier rename to ${name}`,
      ),
    interrupt: () => administer('select 1'),
  };
}
