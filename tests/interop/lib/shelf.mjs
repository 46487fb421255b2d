// A web server with a few files, for what is sent by its address or previewed.

import { once } from 'node:events';
import { createServer } from 'node:http';

export class Shelf {
  static async start(files) {
    const shelf = new Shelf();
    shelf.server = createServer((request, response) => {
      const file = files[request.url];
      // Accepted, and never answered.
      if (file?.hangs) return undefined;
      if (!file) return response.writeHead(404).end('nothing here');
      response.writeHead(200, { 'content-type': file.type, 'content-length': file.bytes.length });
      return response.end(file.bytes);
    });
    shelf.server.listen(0, '127.0.0.1');
    await once(shelf.server, 'listening');
    shelf.url = `http://127.0.0.1:${shelf.server.address().port}`;
    return shelf;
  }

  stop() {
    this.server.closeAllConnections();
    return new Promise((resolve) => this.server.close(resolve));
  }
}
