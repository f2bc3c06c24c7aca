export { apiRoutes, serveApi } from './api/api.ts';
