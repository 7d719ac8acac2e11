// 邀请评价并等待结果 Ask for a rating and wait for its end (.NET Framework 4.5+, Mono):
//   csc Rate.cs -r:System.Net.Http.dll -r:System.Web.Extensions.dll      AGENT=http://127.0.0.1:17610 TOKEN=… Rate.exe A-1
using System;
using System.Collections.Generic;
using System.Net.Http;
using System.Net.Http.Headers;
using System.Text;
using System.Web.Script.Serialization;

static class Rate
{
    static readonly HttpClient Http = new HttpClient { Timeout = TimeSpan.FromSeconds(40) };
    static readonly JavaScriptSerializer Json = new JavaScriptSerializer();

    static void Main(string[] arguments)
    {
        Http.BaseAddress = new Uri(Environment.GetEnvironmentVariable("AGENT"));
        Http.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", Environment.GetEnvironmentVariable("TOKEN"));
        var open = new HttpRequestMessage(HttpMethod.Post, "/v1/evaluations");
        open.Headers.Add("Idempotency-Key", Guid.NewGuid().ToString());
        open.Content = new StringContent(
            Json.Serialize(new { @case = new { case_no = arguments[0] }, staff = "017", timeout_s = 60 }), Encoding.UTF8, "application/json");
        var evaluation = Ask(open);
        Console.WriteLine(evaluation["state"]);
        while (!(bool)evaluation["final"])
            evaluation = Ask(new HttpRequestMessage(HttpMethod.Get, "/v1/evaluations/" + evaluation["id"] + "?wait_s=25"));
        Console.WriteLine(evaluation["state"]);
    }

    static Dictionary<string, object> Ask(HttpRequestMessage request)
    {
        var answer = Http.SendAsync(request).Result;
        var body = Json.Deserialize<Dictionary<string, object>>(answer.Content.ReadAsStringAsync().Result);
        if (!answer.IsSuccessStatusCode)
            throw new InvalidOperationException((string)body["message"]);
        return body;
    }
}
