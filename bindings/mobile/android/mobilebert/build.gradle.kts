// The library module. `../../build` writes the native libraries and the generated Kotlin before Gradle runs.
plugins {
    id("com.android.library")
}

android {
    namespace = "io.mobilebert.android"
    compileSdk = 36

    defaultConfig {
        minSdk = 24
        consumerProguardFiles("consumer-rules.pro")
    }

    sourceSets["main"].kotlin.srcDir("src/generated/kotlin")

    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_11
        targetCompatibility = JavaVersion.VERSION_11
    }
}

dependencies {
    // Calls the native library. Libraries of JNA before 5.17 do not load on devices with pages of 16 KB.
    implementation("net.java.dev.jna:jna:5.17.0@aar")
    // `awaitAnswer` and the like.
    api("org.jetbrains.kotlinx:kotlinx-coroutines-core:1.10.2")
}

val native = layout.projectDirectory.dir("src/main/jniLibs")
val generated = layout.projectDirectory.dir("src/generated/kotlin")

val checkNative = tasks.register("checkNative") {
    // Gradle can store the work below as long as it uses nothing of the script but such a list.
    val needed = listOf(native, generated).map { it.asFile }
    doLast {
        for (folder in needed) {
            check(folder.isDirectory) { "$folder is missing; run bindings/mobile/build android first" }
        }
    }
}

tasks.named("preBuild") { dependsOn(checkNative) }
