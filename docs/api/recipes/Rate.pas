program Rate;
// 邀请评价并等待结果 Ask for a rating and wait for its end (Free Pascal, Delphi mode): fpc Rate.pas
//   AGENT=http://127.0.0.1:17610 TOKEN=… ./Rate A-1
// 在 Delphi 中用 THTTPClient（System.Net.HttpClient）和 System.JSON，请求相同。In Delphi: THTTPClient and System.JSON, the same requests.
{$mode delphi}{$codepage utf8}

uses
  {$ifdef unix}cthreads, cwstring,{$endif} SysUtils, Classes, fphttpclient, fpjson, jsonparser;

function Ask(const Method, Path, Body: string): TJSONObject;
var
  Http: TFPHTTPClient;
  Answer: TStringStream;
  Id: TGUID;
begin
  Http := TFPHTTPClient.Create(nil);
  Answer := TStringStream.Create('');
  try
    Http.IOTimeout := 40000;
    Http.AddHeader('Authorization', 'Bearer ' + GetEnvironmentVariable('TOKEN'));
    if Body <> '' then
    begin
      CreateGUID(Id);
      Http.AddHeader('Idempotency-Key', GUIDToString(Id));
      Http.AddHeader('Content-Type', 'application/json');
      Http.RequestBody := TStringStream.Create(Body);
    end;
    Http.HTTPMethod(Method, GetEnvironmentVariable('AGENT') + Path, Answer, []);
    Result := GetJSON(Answer.DataString) as TJSONObject;
    if Http.ResponseStatusCode >= 300 then
      raise Exception.Create(Result.Get('message', ''));
  finally
    Http.RequestBody.Free;
    Answer.Free;
    Http.Free;
  end;
end;

var
  Evaluation, Request: TJSONObject;
begin
  Request := TJSONObject.Create(['case', TJSONObject.Create(['case_no', ParamStr(1)]), 'staff', '017', 'timeout_s', 60]);
  Evaluation := Ask('POST', '/v1/evaluations', Request.AsJSON);
  WriteLn(Evaluation.Get('state', ''));
  while not Evaluation.Get('final', False) do
    Evaluation := Ask('GET', '/v1/evaluations/' + Evaluation.Get('id', '') + '?wait_s=25', '');
  WriteLn(Evaluation.Get('state', ''));
end.
