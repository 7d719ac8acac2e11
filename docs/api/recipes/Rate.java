import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.UUID;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** 邀请评价并等待结果 Ask for a rating and wait for its end (Java 11+): {@code AGENT=http://127.0.0.1:17610 TOKEN=… java Rate.java A-1}. */
public class Rate {
    private static final HttpClient HTTP = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();

    public static void main(String[] arguments) throws Exception {
        // 真实系统请用 JSON 库 a real system uses its JSON library
        String body = "{\"case\": {\"case_no\": \"" + arguments[0] + "\"}, \"staff\": \"017\", \"timeout_s\": 60}";
        String opened = ask(request("/v1/evaluations")
            .header("Content-Type", "application/json")
            .header("Idempotency-Key", UUID.randomUUID().toString())
            .POST(HttpRequest.BodyPublishers.ofString(body)));
        String id = field(opened, "id");
        System.out.println(field(opened, "state"));
        String now = opened;
        while (!now.contains("\"final\":true")) {
            now = ask(request("/v1/evaluations/" + id + "?wait_s=25").GET());
        }
        System.out.println(field(now, "state"));
    }

    private static HttpRequest.Builder request(String path) {
        return HttpRequest.newBuilder(URI.create(System.getenv("AGENT") + path))
            .header("Authorization", "Bearer " + System.getenv("TOKEN"))
            .timeout(Duration.ofSeconds(40));
    }

    private static String ask(HttpRequest.Builder request) throws Exception {
        HttpResponse<String> answer = HTTP.send(request.build(), HttpResponse.BodyHandlers.ofString());
        if (answer.statusCode() >= 300) {
            throw new IllegalStateException(field(answer.body(), "message"));
        }
        return answer.body();
    }

    private static String field(String json, String name) {
        Matcher matcher = Pattern.compile("\"" + name + "\":\"([^\"]*)\"").matcher(json);
        return matcher.find() ? matcher.group(1) : "";
    }
}
