/*
 * 好差评窗口接口 The rating agent's local API for pages of business systems. One file, no dependency, ES5 (Internet Explorer 10 and newer).
 *
 *   var hcp = new Haochaping({ token: '…' });
 *   hcp.evaluate({ case: { case_no: 'A-1' }, staff: '017' }, function (error, evaluation) {
 *     // error: { status, error, message }; evaluation.state: rated, expired, cancelled, device_lost or error
 *   });
 *
 * 每个方法最后一个参数是回调；不给回调则返回 Promise（浏览器支持时）。
 * Every method takes a callback last; without one it returns a Promise where the browser has them.
 * 结果只说“已评价”，从不说怎样评价。 A result says that the citizen has rated, never how.
 */
(function (root, make) {
  'use strict';
  if (typeof module === 'object' && module.exports) {
    module.exports = make();
  } else {
    root.Haochaping = make();
  }
}(typeof self === 'undefined' ? this : self, function () {
  'use strict';

  var POLL_S = 25;
  var ANSWER_MS = 15000;
  var AGAIN_MS = 1000;
  var PATIENCE_MS = 60000;
  var MOST_HELD = 262144;
  var UNREACHABLE = {
    status: 0,
    error: 'unreachable',
    message: '无法连接本机的评价器代理程序：它是否运行？本页面的来源是否在 api.origins 中？浏览器是否允许访问本机？ ' +
      'The rating agent of this PC cannot be reached: does it run, is this page in api.origins, does the browser let it reach this PC?'
  };

  function Haochaping(options) {
    if (!options || !options.token) {
      throw new Error('缺少 token is missing');
    }
    this._url = options.url || 'http://127.0.0.1:' + (options.port || 17610);
    this._token = options.token;
  }

  Haochaping.prototype = {
    constructor: Haochaping,

    // 邀请评价并等待结果 Open an evaluation and wait for its end. Returns { cancel } where there is a callback.
    evaluate: function (options, callback) {
      var self = this;
      var handle = { id: null, cancelled: false };
      handle.cancel = function (done) {
        handle.cancelled = true;
        if (handle.id) {
          self.cancel(handle.id, done || function () {});
        }
      };
      function run(done) {
        self.open(options, function (error, evaluation) {
          if (error) {
            return done(error);
          }
          handle.id = evaluation.id;
          if (handle.cancelled) {
            self.cancel(evaluation.id, function () {});
          }
          if (options.opened) {
            options.opened(evaluation);
          }
          self.wait(evaluation.id, done);
        });
      }
      if (callback) {
        run(callback);
        return handle;
      }
      return promised(run);
    },

    // 邀请评价 Open: { case: { case_no, item_code, item_name, … }, staff, timeout_s, language, key }
    open: function (options, callback) {
      var self = this;
      var body = {};
      var names = ['case', 'staff', 'timeout_s', 'language'];
      for (var i = 0; i < names.length; i++) {
        if (options[names[i]] !== undefined) {
          body[names[i]] = options[names[i]];
        }
      }
      // 同一个键只开一次评价，所以断线后可以重试 one key opens once, so that a request whose answer was lost can be repeated
      var headers = { 'Idempotency-Key': options.key || newKey() };
      return either(callback, function (done) {
        self._insist('POST', '/v1/evaluations', body, headers, AGAIN_MS * 3, done);
      });
    },

    // 等待结束 Wait for the end of an evaluation, over restarts of the agent too.
    wait: function (id, callback) {
      var self = this;
      return either(callback, function (done) {
        (function again() {
          self._insist('GET', '/v1/evaluations/' + id + '?wait_s=' + POLL_S, null, {}, PATIENCE_MS, function (error, evaluation) {
            if (error || evaluation.final) {
              return done(error, evaluation);
            }
            again();
          });
        }());
      });
    },

    get: function (id, callback) {
      return this._ask(callback, 'GET', '/v1/evaluations/' + id);
    },

    // 撤回 Withdraw; one that was rated stays rated, and the answer says so.
    cancel: function (id, callback) {
      return this._ask(callback, 'DELETE', '/v1/evaluations/' + id);
    },

    // 补充评价二维码 The QR code of the follow-up page, as a data: address for an <img>.
    followUpCode: function (id, callback) {
      var self = this;
      return either(callback, function (done) {
        self._once('GET', '/v1/evaluations/' + id + '/follow-up.svg', null, {}, done, function (text) {
          return 'data:image/svg+xml;charset=utf-8,' + encodeURIComponent(text);
        });
      });
    },

    signIn: function (staff, callback) {
      return this._ask(callback, 'PUT', '/v1/staff', { staff: staff });
    },

    signOut: function (callback) {
      return this._ask(callback, 'DELETE', '/v1/staff');
    },

    // 暂停服务 Pause, with a reason: break, meeting, system_fault, other.
    pause: function (reason, callback) {
      return this._ask(callback, 'PUT', '/v1/pause', { reason: reason || 'other' });
    },

    resume: function (callback) {
      return this._ask(callback, 'DELETE', '/v1/pause');
    },

    // 未关联办件的评价，与补登办件 Ratings without a case, and naming the case of one afterwards.
    freeRatings: function (callback) {
      return this._ask(callback, 'GET', '/v1/free-ratings');
    },

    nameCase: function (rating, itsCase, callback) {
      return this._ask(callback, 'PUT', '/v1/free-ratings/' + rating.device + '/' + rating.seq + '/case', itsCase);
    },

    // 迎宾、叫号 Welcome the citizen, call the next one.
    welcome: function (callback) {
      return this._ask(callback, 'POST', '/v1/voice', { prompt: 'welcome' });
    },

    call: function (callback) {
      return this._ask(callback, 'POST', '/v1/voice', { prompt: 'call' });
    },

    // 自定义语音 Speak a text of the hall's own, by its number in the device's voice pack.
    say: function (text, callback) {
      return this._ask(callback, 'POST', '/v1/voice', { text: text });
    },

    status: function (callback) {
      return this._ask(callback, 'GET', '/v1/status');
    },

    // 监听窗口事件 Listen: { window: f, evaluation: f, free_rating: f, connected: f, disconnected: f }. Returns a function that ends it.
    listen: function (handlers) {
      var self = this;
      var lastId = null;
      var ended = false;
      var request = null;

      function tell(name, data) {
        if (handlers[name] && !ended) {
          handlers[name](data);
        }
      }

      function connect() {
        var at = 0;
        var isConnected = false;
        request = self._request('GET', '/v1/events', lastId ? { 'Last-Event-ID': lastId } : {});
        request.onreadystatechange = function () {
          if (ended || request.readyState < 3 || request.status !== 200) {
            if (request.readyState === 4 && !ended) {
              again();
            }
            return;
          }
          if (!isConnected) {
            isConnected = true;
            tell('connected');
          }
          var text = request.responseText;
          var end;
          while ((end = text.indexOf('\n\n', at)) >= 0) {
            take(text.substring(at, end));
            at = end + 2;
          }
          if (request.readyState === 4) {
            again();
          } else if (at > MOST_HELD) {
            request.abort(); // 从上次的编号继续 goes on after the last id
          }
        };
        request.send();
      }

      function take(block) {
        var event = {};
        var lines = block.split('\n');
        for (var i = 0; i < lines.length; i++) {
          var colon = lines[i].indexOf(': ');
          if (colon > 0) {
            event[lines[i].substring(0, colon)] = lines[i].substring(colon + 2);
          }
        }
        if (event.data) {
          lastId = event.id;
          tell(event.event, JSON.parse(event.data));
        }
      }

      function again() {
        tell('disconnected', problem(request));
        if (!ended) {
          setTimeout(function () {
            if (!ended) {
              connect();
            }
          }, AGAIN_MS);
        }
      }

      connect();
      return function () {
        ended = true;
        request.abort();
      };
    },

    _ask: function (callback, method, path, body) {
      var self = this;
      return either(callback, function (done) {
        self._once(method, path, body, {}, done);
      });
    },

    // 连不上时重试一段时间 Try again for a while when nobody answers; an answer of any kind ends it.
    _insist: function (method, path, body, headers, patienceMs, done) {
      var self = this;
      var since = new Date().getTime();
      (function again() {
        self._once(method, path, body, headers, function (error, answer) {
          if (error && error.status === 0 && new Date().getTime() - since < patienceMs) {
            setTimeout(again, AGAIN_MS);
          } else {
            done(error, answer);
          }
        });
      }());
    },

    _once: function (method, path, body, headers, done, read) {
      var request = this._request(method, path, headers);
      if (body) {
        request.setRequestHeader('Content-Type', 'application/json');
      }
      request.timeout = ANSWER_MS + POLL_S * 1000;
      request.onreadystatechange = function () {
        if (request.readyState !== 4) {
          return;
        }
        if (request.status >= 200 && request.status < 300) {
          done(null, request.responseText ? (read || JSON.parse)(request.responseText) : null);
        } else {
          done(problem(request));
        }
      };
      request.send(body ? JSON.stringify(body) : null);
    },

    _request: function (method, path, headers) {
      var request = new XMLHttpRequest();
      request.open(method, this._url + path, true);
      request.setRequestHeader('Authorization', 'Bearer ' + this._token);
      for (var name in headers) {
        if (Object.prototype.hasOwnProperty.call(headers, name)) {
          request.setRequestHeader(name, headers[name]);
        }
      }
      return request;
    }
  };

  function problem(request) {
    if (!request.status) {
      return UNREACHABLE;
    }
    try {
      var answer = JSON.parse(request.responseText);
      return { status: request.status, error: answer.error, message: answer.message };
    } catch (_) {
      return { status: request.status, error: 'answer', message: '应答无法读取 the answer cannot be read' };
    }
  }

  function either(callback, run) {
    if (callback) {
      return run(callback);
    }
    return promised(run);
  }

  function promised(run) {
    if (typeof Promise === 'undefined') {
      throw new Error('此浏览器没有 Promise，请传入回调 this browser has no Promise: pass a callback');
    }
    return new Promise(function (resolve, reject) {
      run(function (error, answer) {
        if (error) {
          reject(error);
        } else {
          resolve(answer);
        }
      });
    });
  }

  function newKey() {
    var key = 'js-' + new Date().getTime().toString(36);
    for (var i = 0; i < 4; i++) {
      key += '-' + Math.floor(Math.random() * 0x100000000).toString(36);
    }
    return key;
  }

  return Haochaping;
}));
