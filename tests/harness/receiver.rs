//! Someone who is called by webhooks, writes down each call, and answers as he is told.

use crate::PATIENCE;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;

/// Listens until the test ends.
pub struct Webhook {
    /// Where, as a URL.
    pub url: String,
    calls: Receiver<Call>,
}

/// One call.
#[derive(Debug)]
pub struct Call {
    /// The request's line.
    pub line: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Webhook {
    /// Answers the first calls with these, head and body, and all further ones with 204. An empty one hangs up.
    ///
    /// # Panics
    /// If nobody can listen here.
    pub fn start(answers: &[&'static str]) -> Webhook {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let url = format!("http://{}/hook", listener.local_addr().expect("it has an address"));
        let answers = Arc::new(Mutex::new(VecDeque::from(answers.to_vec())));
        let (sender, calls) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (sender, answers) = (sender.clone(), Arc::clone(&answers));
                thread::spawn(move || serve(&stream, &sender, &answers));
            }
        });
        Webhook { url, calls }
    }

    /// The next call.
    ///
    /// # Panics
    /// If none comes.
    pub fn call(&self) -> Call {
        self.calls.recv_timeout(PATIENCE).expect("it is called")
    }

    /// All calls that have come and were not given yet.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.try_iter().collect()
    }
}

impl Call {
    /// The value of a header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value)
    }
}

fn serve(stream: &TcpStream, calls: &Sender<Call>, answers: &Mutex<VecDeque<&'static str>>) {
    let mut reader = BufReader::new(stream);
    while let Some(call) = read(&mut reader) {
        let answer = answers.lock().expect("no thread has panicked").pop_front();
        // The test may be over.
        let _ = calls.send(call);
        let answer = answer.unwrap_or("HTTP/1.1 204 No Content\r\n\r\n");
        let mut writer = stream;
        if answer.is_empty() || writer.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn read(reader: &mut impl BufRead) -> Option<Call> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|&length| length > 0)?;
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let headers: Vec<(String, String)> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.and_then(|(_, value)| value.parse().ok()).unwrap_or_default();
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Call { line: lines[0].clone(), headers, body: String::from_utf8_lossy(&body).into_owned() })
}
