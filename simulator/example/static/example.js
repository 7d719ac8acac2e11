// 业务系统示例 An example of a page that uses sdk.js. It shows everything that a business system needs, and never a level.
(function () {
  'use strict';

  var hcp = new Haochaping(AGENT);
  var asked = null;
  var WORDS = {
    opened: ['请群众在评价器上按键…', 'The citizen is asked to press a button…'],
    rated: ['已评价，谢谢。', 'Rated.'],
    expired: ['超时未评价。', 'Nobody rated in time.'],
    cancelled: ['已撤回。', 'Withdrawn.'],
    device_lost: ['评价器断开，未收到评价。', 'The device went away without a rating.'],
    error: ['评价未能开始。', 'The evaluation could not be opened.']
  };

  function at(id) {
    return document.getElementById(id);
  }

  function show(element, chinese, english) {
    element.textContent = chinese + ' ';
    var small = document.createElement('small');
    small.lang = 'en';
    small.textContent = english;
    element.appendChild(small);
  }

  function result(state, words) {
    at('result').setAttribute('data-state', state);
    show(at('result'), words[0], words[1]);
  }

  function failed(error) {
    result('failed', [error.message, error.error]);
  }

  function log(name, data) {
    var line = document.createElement('li');
    var word = document.createElement('b');
    word.textContent = name;
    line.appendChild(word);
    line.appendChild(document.createTextNode(JSON.stringify(data)));
    at('log').insertBefore(line, at('log').firstChild);
    while (at('log').childNodes.length > 50) {
      at('log').removeChild(at('log').lastChild);
    }
    return line;
  }

  function told(error) {
    if (error) {
      failed(error);
    }
  }

  function followUp(evaluation) {
    if (evaluation.follow_up_url) {
      hcp.followUpCode(evaluation.id, function (error, image) {
        if (!error && asked.id === evaluation.id) {
          at('follow-up-code').src = image;
          at('follow-up').hidden = false;
        }
      });
    }
  }

  at('case-form').addEventListener('submit', function (event) {
    event.preventDefault();
    at('evaluate').disabled = true;
    at('follow-up').hidden = true;
    at('cancel').disabled = false;
    asked = hcp.evaluate({
      case: { case_no: at('case-no').value, item_name: at('item-name').value || undefined },
      timeout_s: 60,
      opened: function (evaluation) {
        result('opened', WORDS.opened);
        followUp(evaluation);
      }
    }, function (error, evaluation) {
      at('evaluate').disabled = false;
      at('cancel').disabled = true;
      if (error) {
        return failed(error);
      }
      result(evaluation.state, WORDS[evaluation.state]);
    });
  });

  at('cancel').addEventListener('click', function () {
    asked.cancel(told);
  });
  at('staff-form').addEventListener('submit', function (event) {
    event.preventDefault();
    hcp.signIn(at('staff').value, told);
  });
  at('sign-out').addEventListener('click', function () {
    hcp.signOut(told);
  });
  at('pause').addEventListener('click', function () {
    hcp.pause('break', told);
  });
  at('resume').addEventListener('click', function () {
    hcp.resume(told);
  });

  at('welcome').addEventListener('click', function () {
    hcp.welcome(told);
  });
  at('call').addEventListener('click', function () {
    hcp.call(told);
  });
  at('text').addEventListener('click', function () {
    hcp.say(1, told);
  });

  hcp.listen({
    window: function (now) {
      log('window', now);
      show(
        at('device'),
        (now.device ? '评价器 ' + now.device : '评价器未连接') + ' · ' + (now.staff ? '工号 ' + now.staff : '无人签到') +
          (now.paused ? ' · 暂停服务' : ''),
        (now.device ? 'device connected' : 'no device') + ', ' + (now.staff ? 'signed in' : 'nobody signed in') +
          (now.paused ? ', paused' : '')
      );
    },
    evaluation: function (evaluation) {
      log('evaluation', { state: evaluation.state, case_no: evaluation.case && evaluation.case.case_no });
    },
    free_rating: function (rating) {
      var line = log('free_rating', rating);
      var button = document.createElement('button');
      button.type = 'button';
      show(button, '补登到上面的办件编号', 'Name the case above for it');
      button.addEventListener('click', function () {
        hcp.nameCase(rating, { case_no: at('case-no').value }, function (error) {
          if (error) {
            return failed(error);
          }
          button.disabled = true;
          show(button, '已补登', 'Named');
        });
      });
      line.appendChild(button);
    },
    disconnected: function (error) {
      log('disconnected', error);
      show(at('device'), error.message, '');
    }
  });
}());
